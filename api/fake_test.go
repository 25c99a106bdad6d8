package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing/iotest"
	"time"

	"ferry"
)

// now is the fake's time of everything; with milliseconds that end in zero, so
// that a form that drops them shows.
var now = time.Date(2026, 11, 23, 9, 30, 0, 120e6, time.FixedZone("", 3600))

// fake is a broker in memory, as simple as the surface lets it be.
type fake struct {
	mu       sync.Mutex
	messages map[ferry.ID]*held
	order    []ferry.ID
	refused  []string // route:code
	observed int
	acts     []string // what operators asked for
	staged   map[string][]byte
	stages   int // bodies that were ever staged

	brokenBlob, stillBlob bool
	stillAccount          bool          // it does not even answer
	blobPause             time.Duration // before each byte of the blob

	possible bool // every new message may repeat the one before

	usedBefore  int64       // of every quota
	uses        []ferry.Use // requests that ended
	usageFilter ferry.UsageFilter

	caller ferry.Caller // of the last act that asks for one

	backupFails error // after its first bytes

	err    error // answers everything when set
	panics bool
}

type held struct {
	msg      ferry.Message
	envelope ferry.Envelope
}

func newFake() *fake { return &fake{messages: map[ferry.ID]*held{}} }

// fakeEnvironment is that of the flows that use one key.
const fakeEnvironment = "Default-11111111-2222-3333-4444-555555555555"

var fakeKeys = map[string]ferry.Identity{
	"admin-key":    {Name: "root", KeyID: "k1", Role: ferry.RoleAdmin},
	"operator-key": {Name: "olga", KeyID: "k2", Role: ferry.RoleOperator},
	"sender-key":   {Name: "flow", KeyID: "k3", Role: ferry.RoleSender, Routes: []string{"invoices", "small", "pings", "gone"}},
	"maker-key":    {Name: "maker", KeyID: "k7", Role: ferry.RoleSender, Environment: fakeEnvironment},
	"any-key":      {Name: "any", KeyID: "k4", Role: ferry.RoleSender},
	"receiver-key": {Name: "erp", KeyID: "k5", Role: ferry.RoleReceiver},

	"slow-key": {Name: "slow", KeyID: "k7", Role: ferry.RoleSender, Limit: ferry.Limit{Rate: ferry.Rate{Calls: 2, Per: time.Minute}, Burst: 1}},

	"orders-receiver-key": {Name: "erp2", KeyID: "k6", Role: ferry.RoleReceiver, Routes: []string{"orders"}},
}

var fakeRoutes = map[string]ferry.Route{
	"invoices": {Name: "invoices", TimeToLive: 24 * time.Hour},
	"orders":   {Name: "orders"},
	"typed":    {Name: "typed", Title: "Typed things", Description: "What has fields", Schema: []byte(`{"type":"object","properties":{"confidentialField":{"type":"string"}}}`)},
	"small":    {Name: "small", MaxBytes: 64},
	"tiny":     {Name: "tiny", MaxBytes: 4},
	"pings":    {Name: "pings", AllowEmpty: true},
	"large":    {Name: "large", MaxBytes: ferry.MaxBody},
	"shaped":   shapedRoute(),
}

func (f *fake) Authenticate(_ context.Context, key string) (ferry.Identity, error) {
	if id, ok := fakeKeys[key]; ok {
		return id, nil
	}
	return ferry.Identity{}, ferry.Errorf(ferry.CodeUnauthenticated, "the key is not known")
}

func (f *fake) QuotaUsed(string, time.Time, time.Duration) (int64, error) { return f.usedBefore, nil }

func (f *fake) Route(name string) (ferry.Route, bool) {
	r, ok := fakeRoutes[name]
	return r, ok
}

func (f *fake) RequestRefused(route string, code ferry.Code) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, route+":"+string(code))
}

func (f *fake) ObserveAccept(time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed++
}

// StageBody keeps the body in memory, under the name of a file.
func (f *fake) StageBody(_ context.Context, _ string, r io.Reader, limit int64) (ferry.StagedBody, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return ferry.StagedBody{}, fmt.Errorf("read a body: %w", err)
	}
	if int64(len(body)) > limit {
		return ferry.StagedBody{}, ferry.Errorf(ferry.CodeTooLarge, "too large")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return ferry.StagedBody{}, f.err
	}
	f.stages++
	sum := sha256.Sum256(body)
	b := ferry.StagedBody{Path: fmt.Sprint("staged-", f.stages), Size: int64(len(body)), SHA256: sum[:]}
	if f.staged == nil {
		f.staged = map[string][]byte{}
	}
	f.staged[b.Path] = body
	return b, nil
}

// fakeBlob is what OpenBodyRef finds, when it is asked for fakeRef.
const (
	fakeRef  = "https://contoso.blob.core.windows.net/flows/invoice?sig=signature"
	fakeBlob = `{"from":"a blob"}`
)

func (f *fake) OpenBodyRef(ctx context.Context, url string) (io.ReadCloser, string, error) {
	if f.stillAccount {
		<-ctx.Done()
		return nil, "", ferry.Errorf(ferry.CodeBodyRefUnavailable, "the account does not answer: %w", ctx.Err())
	}
	if f.stillBlob {
		return io.NopCloser(stillReader{ctx}), "", nil
	}
	if url != fakeRef {
		return nil, "", ferry.Errorf(ferry.CodeBadBodyRef, "not allowed")
	}
	if f.brokenBlob {
		return io.NopCloser(io.MultiReader(strings.NewReader("half of"), iotest.ErrReader(errors.New("broken off")))), "", nil
	}
	return io.NopCloser(&slowReader{strings.NewReader(fakeBlob), f.blobPause}), "application/json", nil
}

// slowReader gives a byte at a time where it pauses.
type slowReader struct {
	from  io.Reader
	pause time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.pause == 0 {
		return r.from.Read(p)
	}
	time.Sleep(r.pause)
	return r.from.Read(p[:min(len(p), 1)])
}

func (f *fake) Unstage(b ferry.StagedBody) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.staged, b.Path)
}

func (f *fake) Accept(_ context.Context, m ferry.Message) (ferry.Accepted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Staged != nil {
		m.Body = f.staged[m.Staged.Path]
		delete(f.staged, m.Staged.Path)
		m.Staged = nil
	}
	if f.panics {
		panic("the fake panics")
	}
	return f.accept(m, false)
}

func (f *fake) accept(m ferry.Message, dry bool) (ferry.Accepted, error) {
	if f.err != nil {
		return ferry.Accepted{}, f.err
	}
	if err := shaped(&m); err != nil {
		return ferry.Accepted{}, err
	}
	for _, id := range f.order {
		h := f.messages[id]
		if m.IdempotencyKey == "" || h.msg.Route != m.Route || h.msg.IdempotencyKey != m.IdempotencyKey {
			continue
		}
		a := ferry.Accepted{ID: id, Route: m.Route, State: h.envelope.State}
		if bytes.Equal(h.msg.Body, m.Body) {
			a.Duplicate = true
			return a, nil
		}
		if m.OnConflict == ferry.OnConflictReplace && h.envelope.State == ferry.StateDeadLettered {
			if dry {
				return a, nil
			}
			h.envelope.State, h.envelope.Revision = ferry.StateAccepted, h.envelope.Revision+1
			h.msg.Body = m.Body
			a.State, a.Revision = ferry.StateAccepted, h.envelope.Revision
			return a, nil
		}
		e := ferry.Errorf(ferry.CodeKeyReused, "the key is known with another body")
		e.Existing = &a
		return ferry.Accepted{}, e
	}
	if dry {
		return ferry.Accepted{}, nil
	}
	m.ID = ferry.NewID(now.Add(time.Duration(len(f.order)) * time.Millisecond))
	var before ferry.ID
	if f.possible && len(f.order) > 0 {
		before = f.order[len(f.order)-1]
	}
	f.order = append(f.order, m.ID)
	f.messages[m.ID] = &held{msg: m, envelope: ferry.Envelope{
		ID: m.ID, Route: m.Route, State: ferry.StateAccepted, Version: m.Version, Revision: 1, Generation: 1,
		IdempotencyKey: m.IdempotencyKey, CorrelationID: m.CorrelationID, OrderingKey: m.OrderingKey,
		ContentType: m.ContentType, Size: int64(len(m.Body)), Properties: m.Properties,
		CreatedAt: now, UpdatedAt: now, Sender: m.Sender,
	}}
	return ferry.Accepted{ID: m.ID, Route: m.Route, State: ferry.StateAccepted, Version: m.Version, PossibleRepeatOf: before}, nil
}

func (f *fake) AcceptBatch(_ context.Context, ms []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, nil, f.err
	}
	accepted, errs, bad := make([]ferry.Accepted, len(ms)), make([]error, len(ms)), false
	for i, m := range ms {
		_, errs[i] = f.accept(m, true)
		bad = bad || errs[i] != nil
	}
	if bad && !partial {
		return accepted, errs, nil
	}
	for i, m := range ms {
		if errs[i] == nil {
			accepted[i], errs[i] = f.accept(m, false)
		}
	}
	return accepted, errs, nil
}

func (f *fake) find(id ferry.ID) (*held, error) {
	if f.err != nil {
		return nil, f.err
	}
	if h, ok := f.messages[id]; ok {
		return h, nil
	}
	return nil, ferry.Errorf(ferry.CodeMessageNotFound, "no message has the id %s", id)
}

func (f *fake) Message(_ context.Context, id ferry.ID) (ferry.Envelope, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := f.find(id)
	if err != nil {
		return ferry.Envelope{}, err
	}
	return h.envelope, nil
}

func (f *fake) ResolveID(_ context.Context, suffix string) (ferry.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []ferry.ID
	for _, id := range f.order {
		if strings.HasSuffix(id.String(), suffix) {
			found = append(found, id)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return ferry.ID{}, ferry.Errorf(ferry.CodeMessageNotFound, "%d messages end in %s", len(found), suffix)
}

func (f *fake) OpenBody(_ context.Context, id ferry.ID, _ int) (ferry.BodyReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := f.find(id)
	if err != nil {
		return ferry.BodyReader{}, err
	}
	sum := sha256.Sum256(h.msg.Body)
	return ferry.BodyReader{
		ReadSeekCloser: ferry.NewBodyReader(h.msg.Body), Size: int64(len(h.msg.Body)),
		SHA256: sum[:], ContentType: h.msg.ContentType,
	}, nil
}

func (f *fake) Messages(_ context.Context, filter ferry.MessageFilter) (ferry.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, fmt.Sprintf("messages %+v", filter))
	return f.page(filter.Limit, filter.Cursor, func(h *held) bool {
		if filter.Routes != nil && !contains(filter.Routes, h.msg.Route) {
			return false
		}
		return filter.Route == "" || filter.Route == h.msg.Route
	})
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// page gives what keep selects; the cursor is how many were given before.
func (f *fake) page(limit int, cursor string, keep func(*held) bool) (ferry.Page, error) {
	var skip int
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &skip); err != nil {
			return ferry.Page{}, ferry.Errorf(ferry.CodeBadCursor, "the cursor is damaged")
		}
	}
	var p ferry.Page
	n := 0
	for i := len(f.order) - 1; i >= 0; i-- {
		h := f.messages[f.order[i]]
		if !keep(h) {
			continue
		}
		if n++; n <= skip {
			continue
		}
		if len(p.Items) == limit {
			p.NextCursor = fmt.Sprint(skip + limit)
			break
		}
		p.Items = append(p.Items, h.envelope)
	}
	return p, f.err
}

func (f *fake) DeadLetters(_ context.Context, filter ferry.DeadLetterFilter) (ferry.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, fmt.Sprintf("deadLetters %+v", filter))
	return f.page(filter.Limit, filter.Cursor, func(h *held) bool { return h.envelope.State == ferry.StateDeadLettered })
}

func (f *fake) Groups(context.Context, ferry.DeadLetterFilter) ([]ferry.Group, error) {
	return []ferry.Group{{ID: "g1", Route: "invoices", Reason: ferry.ReasonRejected, Description: "no supplier <n>", Count: 2, First: now, Last: now, Sample: ferry.NewID(now)}}, f.err
}

// kill makes a dead letter of a message, for the acts to act on.
func (f *fake) kill(id ferry.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &f.messages[id].envelope
	e.State = ferry.StateDeadLettered
	e.DeadLetter = &ferry.DeadLetter{Reason: ferry.ReasonRejected, Code: "E42", Description: "no such supplier", At: now, Group: "g1"}
	e.Attempts = []ferry.Attempt{{Number: 1, Turn: 1, Revision: 1, Generation: 1, StartedAt: now, Verdict: ferry.Rejected, Effect: ferry.EffectNone, Status: 400}}
}

func (f *fake) act(id ferry.ID, what string, change func(*held)) (ferry.Envelope, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := f.find(id)
	if err != nil {
		return ferry.Envelope{}, err
	}
	f.acts = append(f.acts, what)
	change(h)
	return h.envelope, nil
}

func (f *fake) Replay(_ context.Context, id ferry.ID, body []byte, contentType, note, by string) (ferry.Envelope, error) {
	what := fmt.Sprintf("replay body=%q nil=%t type=%q note=%q by=%s", body, body == nil, contentType, note, by)
	return f.act(id, what, func(h *held) {
		h.envelope.State = ferry.StateQueued
		if body != nil {
			h.msg.Body = body
		}
	})
}

func (f *fake) AcceptDeadLetter(_ context.Context, id ferry.ID, reference, note, by string) (ferry.Envelope, error) {
	return f.act(id, fmt.Sprintf("accept %s %q by=%s", reference, note, by), func(h *held) {
		h.envelope.State, h.envelope.Reference = ferry.StateCompleted, reference
	})
}

func (f *fake) Discard(_ context.Context, id ferry.ID, note, by string) (ferry.Envelope, error) {
	return f.act(id, fmt.Sprintf("discard %q by=%s", note, by), func(h *held) { h.envelope.State = ferry.StateDiscarded })
}

func (f *fake) Restore(_ context.Context, id ferry.ID, note, by string) (ferry.Envelope, error) {
	return f.act(id, fmt.Sprintf("restore %q by=%s", note, by), func(h *held) { h.envelope.State = ferry.StateDeadLettered })
}

func (f *fake) Bulk(_ context.Context, act string, req ferry.BulkRequest, by string) (ferry.BulkAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, fmt.Sprintf("bulk %s %+v by=%s", act, req.Filter, by))
	a := ferry.BulkAnswer{Count: 3, ByRoute: map[string]map[ferry.Reason]int{"invoices": {ferry.ReasonRejected: 3}}}
	if req.Expect != nil && *req.Expect != a.Count {
		return a, ferry.Errorf(ferry.CodeCountChanged, "the selection has %d dead letters", a.Count)
	}
	if !req.DryRun {
		a.OperationID = "op1"
	}
	return a, f.err
}
