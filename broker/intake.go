package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"ferry"
	"ferry/mapping"
	"ferry/store"
)

// Route returns a configured route.
func (b *Broker) Route(name string) (ferry.Route, bool) {
	r, ok := b.route(name)
	if !ok {
		return ferry.Route{}, false
	}
	return r.Route, true
}

// StageBody reads a large body into a file of the ledger's folder. See api.Intake.
func (b *Broker) StageBody(ctx context.Context, route string, r io.Reader, limit int64) (ferry.StagedBody, error) {
	if _, ok := b.route(route); !ok {
		return ferry.StagedBody{}, noRoute(route)
	}
	return b.ledger.StageBody(ctx, r, limit)
}

// BodyRefs opens what senders name in place of a body. See api.Intake.OpenBodyRef
// for its errors.
type BodyRefs interface {
	Open(ctx context.Context, url string) (blob io.ReadCloser, contentType string, err error)
}

// OpenBodyRef opens the blob that a sender named in place of a body.
func (b *Broker) OpenBodyRef(ctx context.Context, url string) (io.ReadCloser, string, error) {
	return b.table.Load().openBodyRef(ctx, url)
}

func (t *table) openBodyRef(ctx context.Context, url string) (io.ReadCloser, string, error) {
	if t.BodyRefs == nil {
		return nil, "", ferry.Errorf(ferry.CodeBadBodyRef, "this broker takes no bodies by reference").
			WithHint("send the body itself; or bodyRef: {accounts: […]} in broker.yaml allows accounts")
	}
	return t.BodyRefs.Open(ctx, url)
}

// Unstage removes a staged body that is not needed.
func (b *Broker) Unstage(body ferry.StagedBody) { b.ledger.Unstage(body) }

// Accept puts a message on disk and says under which id. See api.Intake.
func (b *Broker) Accept(ctx context.Context, m ferry.Message) (ferry.Accepted, error) {
	return b.accept(ctx, b.table.Load(), m)
}

func (b *Broker) accept(ctx context.Context, t *table, m ferry.Message) (ferry.Accepted, error) {
	if m.Staged != nil {
		defer b.ledger.Unstage(*m.Staged) // of no effect on one that the ledger took over
	}
	if err := b.complete(ctx, t, &m); err != nil {
		if answer, ok := b.known(&m, err); ok {
			b.metrics.accepted(answer)
			return answer, nil
		}
		return ferry.Accepted{}, err
	}
	span := b.beginAccept(ctx, &m)
	answer, err := b.ledger.Accept(ctx, m)
	span.Accepted(&m, &answer, err)
	if err != nil {
		return ferry.Accepted{}, err
	}
	b.metrics.accepted(answer)
	b.usage.accepted(&m, &answer)
	return answer, nil
}

// AcceptBatch puts several messages on disk in one commit. See api.Intake.
func (b *Broker) AcceptBatch(ctx context.Context, msgs []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	return b.acceptBatch(ctx, b.table.Load(), msgs, partial)
}

func (b *Broker) acceptBatch(ctx context.Context, t *table, msgs []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	good := make([]ferry.Message, 0, len(msgs))
	at := make([]int, 0, len(msgs)) // of good in msgs
	answers, errs := make([]ferry.Accepted, len(msgs)), make([]error, len(msgs))
	bad := false
	for i := range msgs {
		if msgs[i].Staged != nil {
			defer b.ledger.Unstage(*msgs[i].Staged)
		}
		if err := b.complete(ctx, t, &msgs[i]); err != nil {
			known := false
			if answers[i], known = b.known(&msgs[i], err); !known {
				errs[i], bad = err, true
			}
			continue
		}
		good, at = append(good, msgs[i]), append(at, i)
	}
	if bad && !partial || len(good) == 0 {
		return answers, errs, nil
	}
	spans := b.beginAccepts(ctx, good)
	accepted, refused, err := b.ledger.AcceptBatch(ctx, good, partial)
	spans.end(accepted, err)
	if err != nil {
		return nil, nil, err
	}
	for i := range good {
		answers[at[i]], errs[at[i]] = accepted[i], refused[i]
		if refused[i] == nil && !accepted[i].ID.IsZero() {
			b.metrics.accepted(accepted[i])
			b.usage.accepted(&good[i], &accepted[i])
		}
	}
	return answers, errs, nil
}

// complete names a message and fills in what its route says.
func (b *Broker) complete(ctx context.Context, t *table, m *ferry.Message) error {
	r, ok := t.routes[m.Route]
	if !ok {
		return noRoute(m.Route)
	}
	if r.Retired {
		return retired(m.Route)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	if m.CallbackURL != "" {
		if err := t.mayCall(m.CallbackURL); err != nil {
			return err
		}
	}
	if m.CreatedAt.IsZero() {
		m.CreatedAt = time.Now().UTC()
	}
	if m.ID.IsZero() {
		m.ID = ferry.NewID(m.CreatedAt)
	}
	if m.TimeToLive == 0 {
		m.TimeToLive = r.TimeToLive
	}
	m.Duplicates = r.Duplicates
	l := b.look(m)
	defer func() { l.free() }()
	if err := b.shape(ctx, r, m, l); err != nil {
		return err
	}
	return b.lookInside(ctx, r, m, l)
}

// maxPeeks bounds the large bodies that are in memory for a look inside.
const maxPeeks = 4

// lookInside takes the ordering key and the search terms from the body.
func (b *Broker) lookInside(ctx context.Context, r *route, m *ferry.Message, l *look) error {
	if r.orderBy == nil && (len(r.search) == 0 || m.BodySize() > ferry.MaxMapped) {
		return nil
	}
	if m.BodySize() > ferry.MaxMapped {
		return ferry.Errorf(ferry.CodeInvalid, "the body has %d bytes, too many to find its ordering key", m.BodySize()).
			WithHint("the route's orderBy reads bodies of up to %d bytes; send larger ones to a route without orderBy, with the ordering key beside the body", ferry.MaxMapped)
	}
	body, err := l.payload(ctx)
	if err != nil {
		return err
	}
	if r.orderBy != nil {
		key, err := extract(ctx, r.orderBy, body)
		if err != nil {
			return ferry.Errorf(ferry.CodeBadOrderingKey, "the route's orderBy finds no ordering key in this body: %w", err).
				WithHint("orderBy: %s", r.OrderBy)
		}
		if len(key) > ferry.MaxOrderingKeyLength {
			return ferry.Errorf(ferry.CodeBadOrderingKey, "the ordering key in this body has %d bytes", len(key)).
				WithHint("at most %d", ferry.MaxOrderingKeyLength)
		}
		m.OrderingKey = key
	}
	for _, p := range r.search {
		// What cannot be found cannot be searched for: no reason to refuse it.
		if term, err := extract(ctx, p, body); err == nil && term != "" && len(term) <= ferry.MaxReferenceLength {
			m.SearchTerms = append(m.SearchTerms, term)
		}
	}
	return nil
}

func noRoute(name string) error {
	return ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", name).WithHint("broker routes list shows them")
}

func extract(ctx context.Context, p *mapping.Program, body []byte) (string, error) {
	if len(body) == 0 || !json.Valid(body) {
		return "", ferry.Errorf(ferry.CodeInvalid, "the body is not JSON")
	}
	return p.RunString(ctx, bytes.TrimSpace(body))
}

// Message returns everything about a message but its body.
func (b *Broker) Message(_ context.Context, id ferry.ID) (ferry.Envelope, error) {
	e, err := b.ledger.Message(id)
	if err == nil {
		b.decorate(&e)
		b.ahead(&e)
	}
	return e, err
}

// ResolveID finds the message whose id ends in suffix.
func (b *Broker) ResolveID(_ context.Context, suffix string) (ferry.ID, error) {
	return b.ledger.ResolveID(suffix)
}

// OpenBody opens a revision of a message's body; revision 0 means the current one.
// See api.Reader.
func (b *Broker) OpenBody(_ context.Context, id ferry.ID, revision int) (ferry.BodyReader, error) {
	body, err := b.ledger.OpenBody(id, revision)
	if errors.Is(err, store.ErrBodyMissing) {
		return body, ferry.Errorf(ferry.CodeBodyMissing, "the body of message %s is gone, or is not what was accepted: %w", id, err).
			WithHint("look at the broker's disk; a sender who still has the body can send it again, and a dead letter takes it as an edit")
	}
	return body, err
}

// Messages lists messages, newest first.
func (b *Broker) Messages(_ context.Context, f ferry.MessageFilter) (ferry.Page, error) {
	f.Limit = listLimit(f.Limit)
	return b.page(b.ledger.Messages(f))
}

// DeadLetters lists dead letters, the latest first.
func (b *Broker) DeadLetters(_ context.Context, f ferry.DeadLetterFilter) (ferry.Page, error) {
	f.Limit = listLimit(f.Limit)
	return b.page(b.ledger.DeadLetters(f, b.ownerOf))
}

func (b *Broker) page(p ferry.Page, err error) (ferry.Page, error) {
	v := b.viewer()
	for i := range p.Items {
		v.decorate(&p.Items[i])
	}
	return p, err
}

// Events lists ends of messages. See api.Events.
func (b *Broker) Events(_ context.Context, f ferry.EventFilter) (ferry.EventPage, error) {
	f.Limit = listLimit(f.Limit)
	page, err := b.ledger.Events(f)
	v := b.viewer()
	for i := range page.Items {
		v.decorate(&page.Items[i].Message)
	}
	return page, err
}

// Groups lists groups of dead letters, the largest first.
func (b *Broker) Groups(_ context.Context, f ferry.DeadLetterFilter) ([]ferry.Group, error) {
	f.Limit = listLimit(f.Limit)
	return b.ledger.Groups(f, b.ownerOf)
}

func listLimit(n int) int {
	if n <= 0 {
		return ferry.DefaultListLimit
	}
	return min(n, ferry.MaxListLimit)
}
