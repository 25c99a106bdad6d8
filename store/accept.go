package store

import (
	"context"
	"crypto/sha256"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// maxRevisions bounds the edits of one message.
const maxRevisions = 100

// prepared is a message on its way into the ledger, with what was worked out
// before its group: hashing and files take time that no neighbour should wait.
type prepared struct {
	msg   ferry.Message
	route uint32
	hash  [sha256.Size]byte
	sent  [sha256.Size]byte // of the body as it was sent, by which a repeat is recognised
	key   idemKey
	keyed bool
	// Of a message of a flow without a key.
	repeat repeatKeys
	file   string // of a large body, before its commit; empty: none

	renamed string // what the file was called when it became another message's revision
}

// decision is what becomes of it, decided before anything is written.
type decision struct {
	answer  ferry.Accepted
	replace *record // onConflict=replace: this message gets the body
	fresh   bool
}

// writes says whether the message's body is wanted.
func (d *decision) writes() bool { return d.fresh || d.replace != nil }

// Accept puts a validated message on disk. Its ID, CreatedAt and TimeToLive
// must be set. The same key with the same body answers with the first message;
// with another body the error is keyReused and names it. A staged body is the
// ledger's from the call on, whatever comes of it.
func (l *Ledger) Accept(ctx context.Context, m ferry.Message) (ferry.Accepted, error) {
	if m.Staged != nil {
		defer l.Unstage(*m.Staged)
	}
	p, err := l.prepare(m)
	if err != nil {
		return ferry.Accepted{}, err
	}
	if answer, known := l.quickRepeat(&p); known {
		return answer, nil
	}
	var d decision
	if err = l.placeBody(&p); err == nil {
		err = l.update(ctx, len(p.msg.Body), func(tx *bbolt.Tx) error {
			var err error
			if d, err = l.decide(tx, &p); err != nil {
				return err
			}
			return l.admit(tx, &p, d)
		})
	}
	l.leaveBody(&p, err == nil && d.writes(), err)
	if err != nil {
		return ferry.Accepted{}, err
	}
	return d.answer, nil
}

// AcceptBatch puts several messages on disk in one commit. An error per index
// says what is wrong with that one; unless partial, one such error means that
// nothing was accepted. The last error is that of the commit.
func (l *Ledger) AcceptBatch(ctx context.Context, msgs []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	answers, errs := make([]ferry.Accepted, len(msgs)), make([]error, len(msgs))
	ps, decisions := make([]prepared, len(msgs)), make([]decision, len(msgs))
	size, admitted := 0, false
	for i, m := range msgs {
		if m.Staged != nil {
			defer l.Unstage(*m.Staged)
		}
		var err error
		if ps[i], err = l.prepare(m); err == nil {
			err = l.placeBody(&ps[i])
		}
		errs[i] = err
		size += len(ps[i].msg.Body)
	}
	tellApart(ps)
	err := l.update(ctx, size, func(tx *bbolt.Tx) error {
		inBatch := map[idemKey]int{}
		bad := false
		for i := range ps {
			if errs[i] == nil {
				decisions[i], errs[i] = l.decideInBatch(tx, ps, decisions, inBatch, i)
			}
			bad = bad || errs[i] != nil
		}
		if bad && !partial {
			return nil
		}
		for i := range ps {
			if errs[i] != nil {
				continue
			}
			if err := l.admit(tx, &ps[i], decisions[i]); err != nil {
				return err
			}
			answers[i] = decisions[i].answer
		}
		admitted = true
		return nil
	})
	for i := range ps {
		l.leaveBody(&ps[i], err == nil && admitted && errs[i] == nil && decisions[i].writes(), err)
	}
	return answers, errs, err
}

// decideInBatch is decide, where the key may stand twice in one batch.
func (l *Ledger) decideInBatch(tx *bbolt.Tx, ps []prepared, ds []decision, seen map[idemKey]int, i int) (decision, error) {
	p := &ps[i]
	if p.keyed {
		if first, ok := seen[p.key]; ok {
			answer := ds[first].answer
			if ps[first].sent != p.sent {
				return decision{}, keyReused(answer)
			}
			answer.Duplicate = true
			return decision{answer: answer}, nil
		}
	}
	d, err := l.decide(tx, p)
	if err == nil && p.keyed {
		seen[p.key] = i
	}
	return d, err
}

func (l *Ledger) prepare(m ferry.Message) (prepared, error) {
	no, ok := l.routeNo(m.Route)
	if !ok {
		return prepared{}, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", m.Route)
	}
	p := prepared{route: no}
	if m.Staged != nil {
		if err := l.adoptStaged(&m); err != nil {
			return prepared{}, err
		}
	}
	if m.Staged != nil {
		copy(p.hash[:], m.Staged.SHA256)
	} else {
		p.hash = sha256.Sum256(m.Body)
	}
	if p.sent = p.hash; len(m.SentHash) == sha256.Size {
		copy(p.sent[:], m.SentHash)
	}
	p.msg = m
	if m.IdempotencyKey != "" {
		p.key, p.keyed = idemKeyOf(no, m.IdempotencyKey), true
	}
	p.asRepeat(0)
	return p, nil
}

// quickRepeat answers a plain repeat without a commit: what it finds is on disk.
func (l *Ledger) quickRepeat(p *prepared) (ferry.Accepted, bool) {
	if !p.keyed && p.repeat.none() || p.msg.ReplyTo != nil {
		return ferry.Accepted{}, false
	}
	id, found := l.quickFind(p, time.Now())
	if !found {
		return ferry.Accepted{}, false
	}
	var answer ferry.Accepted
	known := false
	_ = l.db.View(func(tx *bbolt.Tx) error {
		r, err := get(tx, id)
		if err != nil || r == nil {
			return err
		}
		if p.keyed && (r.Key != p.msg.IdempotencyKey || r.Route != p.route || !r.knowsBody(p.sent[:])) || !p.keyed && !p.isRepeat(r) || !r.calls(p.msg.CallbackURL) {
			return nil // not a plain repeat: the group decides
		}
		answer, known = l.repeatOf(r), true
		return nil
	})
	return answer, known
}

func (l *Ledger) quickFind(p *prepared, now time.Time) (ferry.ID, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if p.keyed {
		return l.idem.find(p.key, now)
	}
	key, certain := p.wanted()
	if !certain {
		return ferry.ID{}, false
	}
	return l.idem.findRepeat(key, now)
}

// decide looks at the key. It reads only.
func (l *Ledger) decide(tx *bbolt.Tx, p *prepared) (decision, error) {
	fresh := decision{fresh: true, answer: ferry.Accepted{ID: p.msg.ID, Route: p.msg.Route, State: ferry.StateAccepted, Version: p.msg.Version}}
	if !p.keyed {
		return l.decideRepeat(tx, p, fresh)
	}
	id, found := l.group.idem[p.key]
	if !found {
		id, found = l.idem.find(p.key, time.Now()) // the committer alone changes the index
	}
	if !found {
		return fresh, nil
	}
	r, err := get(tx, id)
	if err != nil {
		return decision{}, damaged(err)
	}
	if r == nil || r.Key != p.msg.IdempotencyKey || r.Route != p.route {
		return fresh, nil // removed meanwhile
	}
	if r.knowsBody(p.sent[:]) {
		return decision{answer: l.repeatOf(r)}, nil
	}
	answer := ferry.Accepted{ID: r.ID, Route: p.msg.Route, State: l.shownState(r)}
	if p.msg.OnConflict != ferry.OnConflictReplace {
		return decision{}, keyReused(answer)
	}
	if r.State != ferry.StateDeadLettered && r.State != ferry.StateDiscarded {
		return decision{}, keyReused(answer).WithHint("onConflict=replace replaces dead-lettered and discarded messages only; this one is %s", answer.State)
	}
	if r.Revision >= maxRevisions {
		return decision{}, keyReused(answer).WithHint("the message has %d revisions already", r.Revision)
	}
	answer.Revision, answer.State, answer.Version = r.Revision+1, ferry.StateAccepted, p.msg.Version
	return decision{answer: answer, replace: r}, nil
}

func (l *Ledger) repeatOf(r *record) ferry.Accepted {
	return ferry.Accepted{ID: r.ID, Route: l.nameOf(r.Route), State: l.shownState(r), Duplicate: true, Version: r.Version}
}

func keyReused(existing ferry.Accepted) *ferry.Error {
	e := ferry.Errorf(ferry.CodeKeyReused, "the idempotency key was used before, with another body").
		WithHint("use another key for another message, or send onConflict=replace to correct a dead-lettered one")
	e.Existing = &existing
	return e
}

// admit writes what was decided.
func (l *Ledger) admit(tx *bbolt.Tx, p *prepared, d decision) error {
	if d.replace != nil {
		return l.replaceWith(tx, d.replace, p)
	}
	if !d.fresh {
		return l.askAgain(tx, d.answer.ID, &p.msg)
	}
	m := &p.msg
	row := l.row(p.route)
	row.Seq++
	r := &record{
		ID: m.ID, Route: p.route, Seq: row.Seq, State: ferry.StateAccepted,
		Turn: 1, Revision: 1, Generation: 1,
		CreatedAt: nsOf(m.CreatedAt), UpdatedAt: nsOf(m.CreatedAt), DeliverAt: nsOf(m.DeliverAt),
		Key: m.IdempotencyKey, CorrelationID: m.CorrelationID, OrderingKey: m.OrderingKey, ContentType: m.ContentType,
		Traceparent: m.Traceparent, Tracestate: m.Tracestate,
		SenderName: m.Sender.Name, Flow: m.Sender.Flow, Properties: m.Properties, Search: m.SearchTerms,
		BodyHash: p.hash[:], Size: m.BodySize(), Version: m.Version, As: m.As,
		Nth: p.repeat.nth, RepeatOf: d.answer.PossibleRepeatOf,
	}
	r.noteSent(m.SentHash)
	r.ask(m)
	if m.TimeToLive > 0 {
		r.ExpiresAt = nsOf(m.CreatedAt.Add(m.TimeToLive))
		r.HeldThen = row.by(r.CreatedAt)
	}
	l.count(tx, r, +1)
	l.tally(tx, r).accept(r.Seq)
	l.useQuotas(tx, m.Quotas)
	if err := l.putBody(tx, r.ID, 1, m.Body); err != nil {
		return err
	}
	if err := l.makeReady(tx, r, m.DeliverAt); err != nil {
		return err
	}
	if p.keyed {
		if l.group.idem == nil {
			l.group.idem = map[idemKey]ferry.ID{}
		}
		l.group.idem[p.key] = r.ID
	}
	l.noteRepeat(p, r.ID)
	return put(tx, r)
}
