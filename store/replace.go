package store

import (
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// replaceWith makes a message that was set aside ready again with what its sender
// sent in its place: the next revision of the same message. What belongs to the
// request comes from the new one, so that people find the run that sent what is
// delivered now. Its id, key and accept number stay; so does its place among those
// of its ordering key, unless it has another one now.
func (l *Ledger) replaceWith(tx *bbolt.Tx, r *record, p *prepared) error {
	m := &p.msg
	act := ferry.Act{Act: "replace", By: m.Sender.Name, At: m.CreatedAt, Note: replaceNote(r)}
	r.SenderName, r.Flow, r.Traceparent, r.Tracestate = m.Sender.Name, m.Sender.Flow, m.Traceparent, m.Tracestate
	r.Properties, r.Search = m.Properties, m.SearchTerms
	if m.CorrelationID != "" {
		r.CorrelationID = m.CorrelationID
	}
	r.ask(m)
	if m.OrderingKey != r.OrderingKey {
		if err := l.leaveOrder(tx, r); err != nil {
			return err
		}
		r.OrderingKey = m.OrderingKey
	}
	r.DeliverAt = nsOf(m.DeliverAt)
	rev := &revision{body: m.Body, size: m.BodySize(), hash: p.hash, contentType: m.ContentType, from: p, bySender: true, deliverAt: m.DeliverAt}
	if m.TimeToLive > 0 {
		rev.expiresAt = nsOf(m.CreatedAt.Add(m.TimeToLive))
	}
	if err := l.revive(tx, r, rev, act, handled{}); err != nil {
		return err
	}
	who := ferry.WithCaller(noContext, ferry.Caller{KeyID: m.Sender.KeyID})
	return l.audit(who, tx, ferry.AuditEntry{At: act.At, By: act.By, Act: act.Act, Target: "message " + r.ID.String(), Detail: l.actDetail(r, act.Act), Note: act.Note})
}

// replaceNote says where the revision came from that is replaced.
func replaceNote(r *record) string {
	note := "sent again under the same key with another body; before, it came from " + r.SenderName
	if r.Flow != nil && r.Flow.RunID != "" {
		note += ", run " + r.Flow.RunID
	}
	return head(note, ferry.MaxNoteLength)
}

// ready is when the revision is to be delivered, zero for at once.
func (rev *revision) ready() time.Time {
	if rev == nil {
		return time.Time{}
	}
	return rev.deliverAt
}
