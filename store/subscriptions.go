package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Subscription is a subscription as the ledger has it. It holds no secret but the
// address: what signs is derived, by whoever holds the key, from ID and generation.
type Subscription struct {
	ID      ferry.ID        `json:"id"`
	Event   ferry.EventType `json:"event"`
	Route   string          `json:"route,omitempty"` // empty: every one that who subscribed may see
	URL     string          `json:"url"`             // often a secret
	KeyID   string          `json:"keyId"`
	KeyName string          `json:"keyName"`
	// Role and Routes are of an identity that no key of the ledger stands for: what it
	// had when it subscribed.
	Role      ferry.Role `json:"role"`
	Routes    []string   `json:"routes,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	Signer    Signer     `json:"signer"`
	// Check tells the key that its secret was derived from.
	Check string `json:"check"`

	DroppedAt  time.Time `json:"droppedAt,omitzero"`
	DroppedWhy string    `json:"droppedWhy,omitempty"`
}

// subscriptions are those of the ledger, in memory: guarded by Ledger.mu, changed
// by the committer alone. A published one is never changed in place.
type subscriptions struct {
	byID    map[ferry.ID]*Subscription
	byEvent map[ferry.EventType][]*Subscription // those that were not dropped, the oldest first
	signers map[string]Signer                   // by key
}

func newSubscriptions() subscriptions {
	return subscriptions{byID: map[ferry.ID]*Subscription{}, byEvent: map[ferry.EventType][]*Subscription{}, signers: map[string]Signer{}}
}

func (s *subscriptions) read(tx *bbolt.Tx) error {
	*s = newSubscriptions()
	if err := eachJSON(tx, bSubs, func(sub *Subscription) { s.keep(sub) }); err != nil {
		return err
	}
	return tx.Bucket(bSigners).ForEach(func(k, v []byte) (err error) {
		s.signers[string(k)], err = decodeJSON[Signer](v)
		return err
	})
}

// keep puts in a subscription, or what became of it.
func (s *subscriptions) keep(sub *Subscription) {
	s.forget(sub.ID)
	s.byID[sub.ID] = sub
	if !sub.dropped() {
		list := slices.Clone(s.byEvent[sub.Event])
		at, _ := slices.BinarySearchFunc(list, sub, func(a, b *Subscription) int { return strings.Compare(string(a.ID[:]), string(b.ID[:])) })
		s.byEvent[sub.Event] = slices.Insert(list, at, sub)
	}
}

func (s *subscriptions) forget(id ferry.ID) {
	sub, ok := s.byID[id]
	if !ok {
		return
	}
	delete(s.byID, id)
	s.byEvent[sub.Event] = slices.DeleteFunc(slices.Clone(s.byEvent[sub.Event]), func(x *Subscription) bool { return x.ID == id })
}

func (s *Subscription) dropped() bool { return !s.DroppedAt.IsZero() }

func (s *Subscription) target() ferry.NoticeTarget {
	return ferry.NoticeTarget{Kind: ferry.ReplySubscription, Target: s.ID.String()}
}

func (s *Subscription) alike(other *Subscription) bool {
	return !s.dropped() && s.KeyID == other.KeyID && s.Event == other.Event && s.Route == other.Route && s.URL == other.URL
}

// hears says whether a subscription is told of a route: it is neither of another
// route nor of one that who subscribed may not see any more.
func (l *Ledger) hears(s *Subscription, route string, now time.Time) bool {
	if s.dropped() || s.Route != "" && s.Route != route {
		return false
	}
	who, ok := l.subscriber(s, now)
	return ok && who.May(ferry.RoleSender, ferry.RoleOperator) && who.MaySee(route)
}

// Hears says whether a subscription is told of a route now.
func (l *Ledger) Hears(s *Subscription, route string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hears(s, route, time.Now())
}

// subscriber is who subscribed, as he is now; false when he may do nothing now.
func (l *Ledger) subscriber(s *Subscription, now time.Time) (ferry.Identity, bool) {
	who := ferry.Identity{Name: s.KeyName, KeyID: s.KeyID, Role: s.Role, Routes: s.Routes}
	row, ok := l.keys[s.KeyID]
	if !ok { // of a token or a certificate
		return who, strings.ContainsRune(s.KeyID, ':')
	}
	who.Role, who.Routes = row.Role, row.Routes
	return who, row.RevokedAt == nil && (row.ExpiresAt == nil || now.Before(*row.ExpiresAt))
}

// Subscribe makes a subscription, or finds the one that is the same. Its ID and
// CreatedAt must be set.
func (l *Ledger) Subscribe(ctx context.Context, sub Subscription) (is Subscription, merged bool, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		known, count, err := l.subscribed(tx, &sub)
		switch {
		case err != nil:
			return err
		case known != nil:
			is, merged = *known, true
			return nil
		case count >= ferry.MaxSubscriptions:
			return ferry.Errorf(ferry.CodeLimitReached, "there are %d subscriptions already", count).
				WithHint("end some first: broker callbacks list shows them")
		}
		sub.Signer = Signer{Generation: 1, Since: sub.CreatedAt}
		is, merged = sub, false
		return l.saveSubscription(ctx, tx, &sub, "subscriptions create", sub.KeyName, "")
	})
	return is, merged, err
}

// subscribed finds the subscription that is the same as sub, as the group has it,
// and counts all.
func (l *Ledger) subscribed(tx *bbolt.Tx, sub *Subscription) (known *Subscription, count int, err error) {
	candidates := slices.Clone(l.group.subs)
	for _, list := range l.subs.byEvent {
		count += len(list)
		candidates = append(candidates, list...)
	}
	for _, s := range candidates {
		if _, published := l.subs.byID[s.ID]; !published && !s.dropped() {
			count++
		}
		if !s.alike(sub) {
			continue
		}
		now, err := l.currentSubscription(tx, s.ID)
		if err != nil || now != nil && now.alike(sub) {
			return now, count, err
		}
	}
	return nil, count, nil
}

// currentSubscription is a subscription as the group has it, nil when there is none.
func (*Ledger) currentSubscription(tx *bbolt.Tx, id ferry.ID) (*Subscription, error) {
	v := tx.Bucket(bSubs).Get(id[:])
	if v == nil {
		return nil, nil
	}
	sub, err := decodeJSON[Subscription](v)
	if err != nil {
		return nil, damaged(err)
	}
	return &sub, nil
}

func (l *Ledger) saveSubscription(ctx context.Context, tx *bbolt.Tx, sub *Subscription, act, by, note string) error {
	if err := putJSON(tx, bSubs, sub.ID[:], sub); err != nil {
		return err
	}
	kept := *sub
	l.group.subs = append(l.group.subs, &kept)
	l.group.after = append(l.group.after, func() { l.subs.keep(&kept) })
	return l.audit(ctx, tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: act, Target: sub.name(), Note: note})
}

// name is what the audit log calls it: where to is masked.
func (s *Subscription) name() string {
	route := s.Route
	if route == "" {
		route = "every route of the key"
	}
	return "subscription " + s.ID.String() + " of key " + s.KeyName + " (" + string(s.Event) + ", " + route + ", to " + ferry.MaskURL(s.URL) + ")"
}

// Unsubscribe ends a subscription. It says whether there was one.
func (l *Ledger) Unsubscribe(ctx context.Context, id ferry.ID, by string) (was bool, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		sub, err := l.currentSubscription(tx, id)
		if err != nil || sub == nil {
			was = false
			return err
		}
		was = true
		if err := tx.Bucket(bSubs).Delete(id[:]); err != nil {
			return err
		}
		l.group.subs = slices.DeleteFunc(l.group.subs, func(s *Subscription) bool { return s.ID == id })
		l.group.after = append(l.group.after, func() { l.subs.forget(id) })
		return l.audit(ctx, tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: "subscriptions end", Target: sub.name()})
	})
	return was, err
}

// DropSubscription ends a subscription that nobody hears any more, with a trace. It
// says whether it did.
func (l *Ledger) DropSubscription(ctx context.Context, id ferry.ID, why string) (did bool, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		did = false
		sub, err := l.currentSubscription(tx, id)
		if err != nil || sub == nil || sub.dropped() {
			return err
		}
		did = true
		return l.drop(ctx, tx, sub, why)
	})
	return did, err
}

func (l *Ledger) drop(ctx context.Context, tx *bbolt.Tx, sub *Subscription, why string) error {
	sub.DroppedAt, sub.DroppedWhy = time.Now().UTC(), why
	return l.saveSubscription(ctx, tx, sub, "subscriptions drop", "broker", why)
}

// dropOf ends the subscriptions of a key, in the commit that revokes it.
func (l *Ledger) dropOf(ctx context.Context, tx *bbolt.Tx, keyID string) error {
	var list []*Subscription
	if err := eachJSON(tx, bSubs, func(s *Subscription) {
		if s.KeyID == keyID && !s.dropped() {
			list = append(list, s)
		}
	}); err != nil {
		return damaged(err)
	}
	for _, s := range list {
		if err := l.drop(ctx, tx, s, "its key was revoked"); err != nil {
			return err
		}
	}
	return nil
}

// RotateSubscription gives a subscription the next secret; the one before signs as
// well for keep.
func (l *Ledger) RotateSubscription(ctx context.Context, id ferry.ID, keep time.Duration, check, by string) (is Subscription, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		sub, err := l.currentSubscription(tx, id)
		if err != nil {
			return err
		}
		if sub == nil || sub.dropped() {
			return noSubscription(id.String())
		}
		sub.Signer, sub.Check = sub.Signer.next(time.Now().UTC(), keep), check
		is = *sub
		return l.saveSubscription(ctx, tx, sub, "subscriptions rotate", by, "")
	})
	return is, err
}

func noSubscription(id string) *ferry.Error {
	return ferry.Errorf(ferry.CodeNotFound, "there is no subscription %s", id).WithHint("broker callbacks list shows them")
}

// Subscription returns a subscription and whether it may be told anything: nil
// when there is none.
func (l *Ledger) Subscription(id ferry.ID) (sub *Subscription, state ferry.SubscriptionState) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	sub = l.subs.byID[id]
	if sub == nil {
		return nil, ""
	}
	return sub, l.stateOf(sub)
}

func (l *Ledger) stateOf(s *Subscription) ferry.SubscriptionState {
	if s.dropped() {
		return ferry.SubscriptionDropped
	}
	if _, ok := l.subscriber(s, time.Now()); !ok {
		return ferry.SubscriptionKeyExpired
	}
	return ferry.SubscriptionActive
}

// Subscriptions lists those of a key, or with "" all, the oldest first.
func (l *Ledger) Subscriptions(keyID string) []ferry.Subscription {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := []ferry.Subscription{}
	for _, s := range l.subs.byID {
		if keyID == "" || keyID == s.KeyID {
			list = append(list, l.shown(s))
		}
	}
	slices.SortFunc(list, func(a, b ferry.Subscription) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(string(a.ID[:]), string(b.ID[:])))
	})
	return list
}

// OtherKey is how many subscriptions have a secret of another key.
func (l *Ledger) OtherKey(check string) (n int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, list := range l.subs.byEvent {
		for _, s := range list {
			if s.Check != check {
				n++
			}
		}
	}
	return n
}

// Shown is a subscription as it may be shown.
func (l *Ledger) Shown(s *Subscription) ferry.Subscription {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.shown(s)
}

func (l *Ledger) shown(s *Subscription) ferry.Subscription {
	is := ferry.Subscription{
		ID: s.ID, Event: s.Event, Route: s.Route, Callback: ferry.MaskURL(s.URL), State: l.stateOf(s), KeyID: s.KeyID, KeyName: s.KeyName,
		CreatedAt: s.CreatedAt, SecretSince: s.Signer.Since, DroppedWhy: s.DroppedWhy, Waiting: l.outbox.waiting[s.target()],
	}
	if until := s.Signer.OldUntil; until.After(time.Now()) {
		is.OldSecretUntil = &until
	}
	if s.dropped() {
		at := s.DroppedAt
		is.DroppedAt = &at
	}
	return is
}

// ForgetSubscriptions removes those that were dropped before a time, and the
// oldest of too many.
func (l *Ledger) ForgetSubscriptions(ctx context.Context, before time.Time) error {
	l.mu.RLock()
	var old []*Subscription
	for _, s := range l.subs.byID {
		if s.dropped() {
			old = append(old, s)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(old, func(a, b *Subscription) int { return a.DroppedAt.Compare(b.DroppedAt) })
	many := max(len(old)-ferry.MaxSubscriptions, 0)
	n := many
	for n < len(old) && old[n].DroppedAt.Before(before) {
		n++
	}
	if n == 0 {
		return nil
	}
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		for _, s := range old[:n] {
			if err := tx.Bucket(bSubs).Delete(s.ID[:]); err != nil {
				return err
			}
			l.group.after = append(l.group.after, func() { l.subs.forget(s.ID) })
		}
		return nil
	})
}
