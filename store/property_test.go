package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"ferry"
)

// TestLedgerHolds walks the ledger through random histories beside a simple
// model, and holds all of it against the model and against itself after every
// step.
func TestLedgerHolds(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		var failed any
		synctest.Test(t, func(*testing.T) {
			m := &machine{
				dir: dir, msgs: map[ferry.ID]*modelMsg{}, accepted: map[string]uint64{}, keys: map[string]ferry.ID{},
				several: map[string]bool{}, pull: map[string]bool{}, told: map[noticed]ferry.Notice{}, subs: map[ferry.ID]*modelSub{}, ended: map[ferry.ID]end{},
			}
			// rapid ends a failed history by a panic, which must not cross the bubble.
			defer func() {
				failed = recover()
				if m.l != nil {
					_ = m.l.Close()
				}
			}()
			m.open(rt)
			if rapid.Bool().Draw(rt, "several workers, or receivers") {
				m.switchMode(rt)
			}
			rt.Repeat(m.actions())
		})
		_ = os.RemoveAll(dir)
		if failed != nil {
			panic(failed)
		}
	})
}

// machine is the ledger at test and the model of it.
type machine struct {
	dir      string
	l        *Ledger
	ids      []ferry.ID // in the order of their accepts
	msgs     map[ferry.ID]*modelMsg
	keys     map[string]ferry.ID // route and key -> the newest message
	accepted map[string]uint64
	inbox    int
	several  map[string]bool          // routes whose turns are claimed, or locked
	pull     map[string]bool          // routes of receivers
	tokens   []token                  // that receivers were given
	told     map[noticed]ferry.Notice // the last of each message and whom it was for
	subs     map[ferry.ID]*modelSub

	events   []ferry.Event    // that were seen and are kept
	ended    map[ferry.ID]end // what the last event of each ended message must be
	eventsTo ferry.ID         // those up to it were dropped
}

// modelMsg is what must be true of one message.
type modelMsg struct {
	route, key string
	hashes     [][32]byte
	state      ferry.State // pending ones: accepted
	turn       uint64
	handed     uint64 // the last turn that was handed out
	generation int
	spent      int
	attempts   map[uint64]bool
	created    time.Time
	expires    time.Time
	reference  string
	gone       bool // removed by retention
	holder     *Claim
	until      time.Time // of the claim
	over       int       // claims and locks of this generation without a word
	deliveries int       // to receivers
	endedBy    ferry.ID  // the lock
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"accept": m.accept, "accept again": m.accept, "hand out": m.handOut,
		"receipt": m.receipt, "receipt again": m.receipt, "receipt once more": m.receipt,
		"confirm": m.confirm, "confirm again": m.confirm,
		"act": m.act, "act again": m.act, "expire": m.expire, "bind": m.bind, "word": m.word, "purge": m.purge, "reopen": m.reopen, "switch": m.switchMode,
		"claim": m.claim, "claim again": m.claim, "take over": m.takeOverClaims, "time": m.pass, "tell": m.tell, "drop events": m.dropEvents,
		"give up": m.giveUp, "subscribe": m.subscribe, "unsubscribe": m.unsubscribe,
		"receive": m.receiveOne, "receive again": m.receiveOne, "settle": m.settle, "settle again": m.settle,
		"": m.check,
	}
}

func (m *machine) open(rt *rapid.T) {
	l, err := Open(m.dir, Options{MinFree: -1})
	if err != nil {
		rt.Fatalf("Open: %v", err)
	}
	m.l = l
	for _, name := range []string{testRoute, otherRoute} {
		if err := l.EnsureRoute(context.Background(), name); err != nil {
			rt.Fatalf("EnsureRoute: %v", err)
		}
	}
}

func (m *machine) reopen(rt *rapid.T) {
	before := m.l.StartID()
	if err := m.l.Close(); err != nil {
		rt.Fatalf("Close: %v", err)
	}
	m.open(rt)
	if m.l.StartID() == before {
		rt.Fatalf("two openings are named %s", before)
	}
}

func (m *machine) pass(rt *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, 10 * time.Hour, 5 * 24 * time.Hour}).Draw(rt, "passes")
	time.Sleep(d)
}

func drawRoute(rt *rapid.T) string {
	return rapid.SampledFrom([]string{testRoute, otherRoute}).Draw(rt, "route")
}

// onwards: the second route's ordering keys go on behind a dead letter.
func onwards(route string) bool { return route == otherRoute }

func (m *machine) accept(rt *rapid.T) {
	msg := message(rapid.SampledFrom([]string{`{"n":1}`, `{"n":2}`, ``}).Draw(rt, "body"))
	msg.Route = drawRoute(rt)
	msg.IdempotencyKey = rapid.SampledFrom([]string{"", "", "k1", "k2", "k3"}).Draw(rt, "key")
	msg.OrderingKey = rapid.SampledFrom([]string{"", "o1", "o2"}).Draw(rt, "ordering key")
	msg.TimeToLive = rapid.SampledFrom([]time.Duration{0, time.Hour, 30 * 24 * time.Hour}).Draw(rt, "time to live")
	if target := rapid.SampledFrom([]string{"", "q1", "q2"}).Draw(rt, "reply to"); target != "" {
		msg.ReplyTo = &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: target}
	}
	if msg.CallbackURL = rapid.SampledFrom([]string{"", "", "https://h.example/1?sig=x", "https://h.example/2?sig=y"}).Draw(rt, "callback"); msg.CallbackURL != "" {
		msg.Sender.KeyID = "k1"
	}
	if rapid.Bool().Draw(rt, "replace") {
		msg.OnConflict = ferry.OnConflictReplace
	}
	if rapid.Bool().Draw(rt, "later") {
		msg.DeliverAt = time.Now().Add(time.Hour)
	}
	answer, err := m.l.Accept(context.Background(), msg)
	hash := sha256.Sum256(msg.Body)
	key := msg.Route + " " + msg.IdempotencyKey
	first := m.msgs[m.keys[key]]
	if msg.IdempotencyKey == "" || first == nil || first.gone || time.Since(m.keys[key].Time()) > ferry.IdempotencyWindow {
		if err != nil || answer.ID != msg.ID || answer.Duplicate {
			rt.Fatalf("a fresh accept: %+v, %v", answer, err)
		}
		m.ids = append(m.ids, msg.ID)
		mm := &modelMsg{
			route: msg.Route, key: msg.IdempotencyKey, hashes: [][32]byte{hash}, state: ferry.StateAccepted,
			turn: 1, generation: 1, created: msg.CreatedAt, attempts: map[uint64]bool{},
		}
		if msg.TimeToLive > 0 {
			mm.expires = msg.CreatedAt.Add(msg.TimeToLive)
		}
		m.msgs[msg.ID] = mm
		m.keys[key] = msg.ID
		m.accepted[msg.Route]++
		return
	}
	switch known := slices.Contains(first.hashes, hash); {
	case known:
		if err != nil || answer.ID != m.keys[key] || !answer.Duplicate {
			rt.Fatalf("a repeat: %+v, %v", answer, err)
		}
	case msg.OnConflict != "" && (first.state == ferry.StateDeadLettered || first.state == ferry.StateDiscarded):
		if err != nil || answer.ID != m.keys[key] || answer.Revision != len(first.hashes)+1 {
			rt.Fatalf("a replacement: %+v, %v", answer, err)
		}
		first.hashes = append(first.hashes, hash)
		m.revive(m.keys[key])
		if msg.TimeToLive > 0 {
			first.expires = msg.CreatedAt.Add(msg.TimeToLive)
		}
	default:
		if ferry.CodeOf(err) != ferry.CodeKeyReused {
			rt.Fatalf("a reused key: %+v, %v", answer, err)
		}
	}
}

func (m *machine) revive(id ferry.ID) {
	mm := m.msgs[id]
	mm.state, mm.spent, mm.over, mm.deliveries = ferry.StateAccepted, 0, 0, 0
	mm.turn++
	mm.generation++
}

func (m *machine) handOut(rt *rapid.T) {
	route, most := drawRoute(rt), rapid.IntRange(1, 4).Draw(rt, "most")
	if m.pull[route] {
		rt.Skip("receivers are not handed anything")
	}
	now := time.Now()
	row, err := m.l.published(route)
	if err != nil {
		rt.Fatalf("route: %v", err)
	}
	// What was handed out was due, also if the clock stands still or went back.
	limit := max(now.UnixNano(), row.handedOut()+1, row.LastDue)
	upTo, _, err := m.l.Look(route, nil, now, most, skipNone)
	if err != nil {
		rt.Fatalf("Look: %v", err)
	}
	if upTo == nil {
		return
	}
	if err := m.l.Advance(context.Background(), route, upTo); err != nil {
		rt.Fatalf("Advance: %v", err)
	}
	ready, _, err := m.l.Due(route, nil, upTo, 1<<20, ferry.InlineBody, skipNone)
	claimed := m.several[route] && slices.ContainsFunc(m.ids, func(id ferry.ID) bool { return m.msgs[id].route == route && m.msgs[id].holder != nil })
	if err != nil || len(ready) == 0 && !claimed || len(ready) > most {
		rt.Fatalf("Due: %d messages of %d, %v", len(ready), most, err)
	}
	var last []byte
	for _, one := range ready {
		mm := m.msgs[one.ID]
		if mm == nil || mm.state != ferry.StateAccepted || one.Turn != mm.turn || one.Route != route || one.Claims != m.several[route] || mm.holder != nil ||
			one.Revision != len(mm.hashes) || sha256.Sum256(one.Body) != mm.hashes[len(mm.hashes)-1] || string(one.Key) <= string(last) {
			rt.Fatalf("handed out %+v, the model has %+v", one.HandOut, mm)
		}
		if due, _ := splitDueKey(one.Key); due > limit {
			rt.Fatalf("message %s was handed out %v early", one.ID, time.Duration(due-limit))
		}
		last = one.Key
		mm.handed = mm.turn
	}
}

// pick draws a message, most often a late one.
func (m *machine) pick(rt *rapid.T) (ferry.ID, *modelMsg) {
	if len(m.ids) == 0 {
		rt.Skip("no message yet")
	}
	id := m.ids[len(m.ids)-1-rapid.IntRange(0, len(m.ids)-1).Draw(rt, "message")]
	return id, m.msgs[id]
}

func (m *machine) record(rt *rapid.T, id ferry.ID) (r *record) {
	if err := m.l.db.View(func(tx *bbolt.Tx) (err error) {
		r, err = get(tx, id)
		return err
	}); err != nil {
		rt.Fatalf("record: %v", err)
	}
	return r
}

func (m *machine) receipt(rt *rapid.T) {
	var receipts []ferry.Receipt
	var outcomes []Outcome
	for range rapid.IntRange(1, 3).Draw(rt, "receipts") {
		id, mm := m.pick(rt)
		rc := ferry.Receipt{
			ID: id, Route: mm.route, Turn: mm.turn, Worker: "w1", Text: "an answer",
			Inbox: rapid.SampledFrom([]string{"i1", "i2", ""}).Draw(rt, "inbox"),
			Verdict: rapid.SampledFrom([]ferry.VerdictKind{
				ferry.Delivered, ferry.Duplicate, ferry.Rejected, ferry.Failed, ferry.Throttled, ferry.Unknown, ferry.NotTried, ferry.AlreadyExists,
			}).Draw(rt, "verdict"),
			Next: ferry.Next{
				Do:     rapid.SampledFrom([]ferry.NextDo{ferry.DoRetry, ferry.DoDeadLetter}).Draw(rt, "next"),
				After:  rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second, time.Hour, 1<<63 - 1}).Draw(rt, "after"),
				Reason: rapid.SampledFrom(ferry.Reasons()).Draw(rt, "reason"),
				Spends: rapid.IntRange(0, 1).Draw(rt, "spends"),
				Doubt:  rapid.Bool().Draw(rt, "doubt"),
			},
		}
		if rc.Next.Awaits = rapid.Bool().Draw(rt, "awaits") && rc.Next.Do == ferry.DoRetry; rc.Next.Awaits {
			rc.Next.Doubt = true
		}
		rc.Turn -= min(rc.Turn-1, uint64(rapid.IntRange(0, 2).Draw(rt, "turns ago")))
		if rc.Verdict.HasIt() {
			rc.Reference, rc.Revision = "INV-"+id.Short(), len(mm.hashes)
		}
		if rc.Verdict != ferry.NotTried {
			rc.Attempts = []ferry.Attempt{{Turn: rc.Turn, Verdict: rc.Verdict}}
		}
		receipts = append(receipts, rc)
		outcomes = append(outcomes, m.expect(rt, &rc))
		if rapid.Bool().Draw(rt, "twice") {
			receipts = append(receipts, rc)
			outcomes = append(outcomes, m.expect(rt, &rc))
		}
		// One at a time, so that the model may ask the ledger who is parked.
		got, err := m.l.ApplyReceipts(context.Background(), receipts, onwards)
		if err != nil {
			rt.Fatalf("ApplyReceipts: %v", err)
		}
		for i, want := range outcomes {
			if got[i].Applied != want.Applied || got[i].State.Pending() != want.State.Pending() ||
				!want.State.Pending() && got[i].State != want.State {
				rt.Fatalf("receipt %+v: outcome %+v, want %+v", receipts[i], got[i], want)
			}
		}
		m.checkEvents(rt)
		receipts, outcomes = receipts[:0], outcomes[:0]
	}
}

// expect is the rule of facts, in a few lines: "the destination has it" counts
// whatever the turn; anything else once, for the turn that is current.
func (m *machine) expect(rt *rapid.T, rc *ferry.Receipt) Outcome {
	mm := m.msgs[rc.ID]
	if mm.gone {
		return Outcome{}
	}
	for _, a := range rc.Attempts {
		mm.attempts[a.Turn] = true
	}
	out := Outcome{State: mm.state}
	switch {
	case rc.Verdict.HasIt():
		if mm.state == ferry.StateAccepted || mm.state == ferry.StateDeadLettered {
			mm.state, mm.reference, out.Applied, mm.holder = ferry.StateCompleted, rc.Reference, true, nil
		}
	case mm.state == ferry.StateAccepted && rc.Turn == mm.turn && !m.record(rt, rc.ID).Parked && m.heard(mm, rc):
		out.Applied, mm.holder = true, nil
		mm.spent += rc.Next.Spends
		if rc.Next.Do == ferry.DoDeadLetter || m.rejected(rt, rc) {
			mm.state = ferry.StateDeadLettered
		} else {
			mm.turn++
		}
	}
	out.State = mm.state
	return out
}

func (m *machine) act(rt *rapid.T) {
	id, mm := m.pick(rt)
	if mm.gone {
		rt.Skip("removed")
	}
	ctx := context.Background()
	var err error
	want := ferry.Code("")
	dead := mm.state == ferry.StateDeadLettered
	switch act := rapid.SampledFrom([]string{"replay", "edit", "accept", "discard", "restore"}).Draw(rt, "act"); act {
	case "replay", "edit":
		var body []byte
		if act == "edit" {
			body = []byte(`{"edited":true}`)
		}
		err = m.l.Replay(ctx, id, body, "", "", "ann")
		if want = ferry.CodeNotDeadLettered; dead {
			want = ""
			if body != nil {
				mm.hashes = append(mm.hashes, sha256.Sum256(body))
			}
			m.revive(id)
		}
	case "accept":
		err = m.l.AcceptDead(ctx, id, "INV-9", "seen", "ann")
		if want = ferry.CodeNotDeadLettered; dead {
			want, mm.state, mm.reference = "", ferry.StateCompleted, "INV-9"
		}
	case "restore":
		wasDead := m.record(rt, id).Dead != nil
		err = m.l.Restore(ctx, id, "", "ann")
		if want = ferry.CodeNotDiscarded; mm.state == ferry.StateDiscarded {
			want, mm.state = "", ferry.StateDeadLettered
			if !wasDead {
				mm.state = ferry.StateAccepted
				mm.turn++
			}
		}
	case "discard":
		err = m.l.Discard(ctx, id, "", "ann")
		switch {
		case mm.state == ferry.StateAccepted && m.held(mm):
			want = ferry.CodeInDelivery
		case mm.state == ferry.StateAccepted || dead:
			mm.state = ferry.StateDiscarded
		default:
			want = ferry.CodeConflict
		}
	}
	if ferry.CodeOf(err) != want {
		rt.Fatalf("act on %+v: %v, want code %q", mm, err, want)
	}
}

func (m *machine) expire(rt *rapid.T) {
	for _, route := range []string{testRoute, otherRoute} {
		ids, _, _, err := m.l.Overdue(route, nil, time.Now(), 1000)
		if err != nil {
			rt.Fatalf("Overdue: %v", err)
		}
		expired, err := m.l.Expire(context.Background(), ids, onwards)
		if err != nil || len(expired) != len(ids) {
			rt.Fatalf("Expire: %d of %d, %v", len(expired), len(ids), err)
		}
		for _, id := range ids {
			mm := m.msgs[id]
			if mm.state != ferry.StateAccepted || m.held(mm) || mm.expires.IsZero() || mm.expires.After(time.Now()) {
				rt.Fatalf("expired too early: %+v", mm)
			}
			mm.state = ferry.StateDeadLettered
		}
	}
}

func (m *machine) bind(rt *rapid.T) {
	route := drawRoute(rt)
	m.inbox++
	had := m.l.routes[1].Name == route && m.l.routes[1].Binding != nil || m.l.routes[2].Name == route && m.l.routes[2].Binding != nil
	err := m.l.Bind(context.Background(), route, Binding{Worker: "w1", Inbox: fmt.Sprint("inbox-", m.inbox), Bound: time.Minute}, true, "", "ann")
	if m.several[route] {
		if ferry.CodeOf(err) != ferry.CodeConflict {
			rt.Fatalf("Bind a route of several: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatalf("Bind: %v", err)
	}
	for id, mm := range m.msgs {
		if !had || mm.gone || mm.route != route || mm.state != ferry.StateAccepted || mm.handed != mm.turn {
			continue
		}
		mm.turn++
		if r := m.record(rt, id); !r.Elsewhere || !r.Doubt || timeOf(r.NotBefore).Before(time.Now().Add(time.Minute)) {
			rt.Fatalf("after another inbox took over: %+v", r)
		}
	}
}

// word gives the bound inbox a long word, or lets one that lost the route hear of
// it, or a person say that it is gone. What waits may wait shorter, and no turn
// changes.
func (m *machine) word(rt *rapid.T) {
	route, ctx := drawRoute(rt), context.Background()
	info, err := m.l.Route(route)
	if err != nil {
		rt.Fatal(err)
	}
	switch rapid.SampledFrom([]string{"grant", "heard", "gone"}).Draw(rt, "word") {
	case "grant":
		err = m.l.Grant(ctx, route, info.Bindings, "run", time.Now().Add(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 48 * time.Hour}).Draw(rt, "good")))
		if ferry.CodeOf(err) == ferry.CodeConflict && info.Binding == nil {
			err = nil
		}
	case "heard":
		for _, e := range info.Leaving {
			_, err = m.l.Heard(ctx, route, e.Worker, e.Inbox, rapid.Uint64Range(0, info.Bindings).Draw(rt, "heard"))
			if err == nil && rapid.Bool().Draw(rt, "left") {
				err = m.l.Left(ctx, route, e.Inbox, e.Run)
			}
		}
	case "gone":
		if len(info.Leaving) > 0 {
			_, err = m.l.Gone(ctx, route, func(string) bool { return rapid.Bool().Draw(rt, "kept") }, "", "ann")
		}
	}
	if err != nil {
		rt.Fatalf("word: %v", err)
	}
	after, err := m.l.Route(route)
	if err != nil {
		rt.Fatal(err)
	}
	for i, e := range after.Leaving {
		if i < len(info.Leaving) && e.No == info.Leaving[i].No && e.Calm > info.Leaving[i].Calm {
			rt.Fatalf("it waits longer: %+v, %+v", info.Leaving[i], e)
		}
	}
}

func (m *machine) purge(rt *rapid.T) {
	before := time.Now().Add(-rapid.SampledFrom([]time.Duration{0, time.Hour, 24 * time.Hour}).Draw(rt, "age"))
	due := map[ferry.ID]bool{}
	for id, mm := range m.msgs {
		if r := m.record(rt, id); r != nil && (mm.state == ferry.StateCompleted || mm.state == ferry.StateDiscarded) {
			first := ferry.FirstID(before)
			due[id] = timeOf(r.UpdatedAt).Before(before) && string(id[:]) < string(first[:]) && !m.l.owed(id)
		}
	}
	n, err := purgeBefore(context.Background(), m.l, before)
	if err != nil {
		rt.Fatalf("Purge: %v", err)
	}
	for id := range due {
		if due[id] {
			m.msgs[id].gone = true
			n--
		}
	}
	if n != 0 {
		rt.Fatalf("Purge removed %d more than expected", n)
	}
}

// check holds everything against the model, and the ledger against itself.
func (m *machine) check(rt *rapid.T) {
	if err := m.l.sound(); err != nil {
		rt.Fatalf("the ledger is not sound: %v", err)
	}
	for route, n := range m.accepted {
		if info, err := m.l.Route(route); err != nil || uint64(info.Accepted) != n {
			rt.Fatalf("route %s accepted %d, want %d (%v)", route, info.Accepted, n, err)
		}
	}
	m.checkEvents(rt)
	notices := m.lastNotices(rt)
	m.checkSubscriptions(rt)
	for _, id := range m.ids {
		mm := m.msgs[id]
		if mm.gone {
			if _, err := m.l.Message(id); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
				rt.Fatalf("a removed message: %v", err)
			}
			continue
		}
		e, err := m.l.Message(id)
		if err != nil {
			rt.Fatalf("message: %v", err)
		}
		r := m.record(rt, id)
		m.checkNotices(rt, r, notices)
		state := e.State
		if state.Pending() {
			state = ferry.StateAccepted
		}
		if state != mm.state || r.Turn != mm.turn || e.Generation != mm.generation || r.Spent != mm.spent || e.Reference != mm.reference || e.Revision != len(mm.hashes) || len(e.Attempts) != len(mm.attempts) || (r.Holder != nil) != (mm.holder != nil) {
			rt.Fatalf("message %s: %+v\nrecord %+v\nmodel %+v", id, e, r, mm)
		}
		if mm.handed == mm.turn && mm.state == ferry.StateAccepted && !m.l.routes[r.Route].wasHandedOut(r) {
			rt.Fatalf("message %s was handed out, and looks as if nobody could hold it", id)
		}
	}
}
