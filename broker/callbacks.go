package broker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferry"
	"ferry/store"
)

// Caller is what calls addresses back: it says which it may call.
type Caller interface {
	// MayCall says why an address cannot be called, nil when it may be tried. What its
	// name leads to is looked at when it is called.
	MayCall(url string) error
}

// CallbackKeyFile holds the key that callbacks are signed by, beside the ledger. It
// belongs into every backup of it: when it is lost, who verifies refuses what is
// sent, and the addresses that end subscriptions end none.
const CallbackKeyFile = "callbacks.key"

// callbackTokenKey makes the secrets of callbacks and the addresses that end
// subscriptions, so that none of them lies in the ledger.
func callbackTokenKey() tokenKey {
	return tokenKey{
		file: CallbackKeyFile, what: "key for callbacks",
		lost: "callbacks are signed with other secrets: give them new ones with broker callbacks rotate",
	}
}

// keyCheck tells the key from another without revealing it.
func (b *Broker) keyCheck() string { return hex.EncodeToString(b.derive("check", "", 0)[:4]) }

// keyProblem says that subscribers know other secrets than those that sign: the
// ledger was restored without its key.
func (b *Broker) keyProblem() string {
	n := b.ledger.OtherKey(b.keyCheck())
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d subscriptions are signed with other secrets than their subscribers know, since %s was replaced: restore it, or give them new secrets with broker callbacks rotate", n, CallbackKeyFile)
}

// Secrets and tokens are made of the key, a purpose, whose they are and a number.
const (
	forSubscription = "subscription"
	forSender       = "sender"
	forUnsubscribe  = "unsubscribe"
	forOperator     = "operator"
)

func (b *Broker) derive(purpose, whose string, generation int) []byte {
	mac := hmac.New(sha256.New, b.callbackKey)
	text := append([]byte("callbacks\x00"+purpose+"\x00"+whose+"\x00"), 0)
	mac.Write(binary.BigEndian.AppendUint64(text, uint64(generation)))
	return mac.Sum(nil)
}

// secretText is how Standard Webhooks writes a secret.
func secretText(secret []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(secret) }

// secretsOf are those that sign now, the newest first.
func (b *Broker) secretsOf(purpose, whose string, s store.Signer) [][]byte {
	list := [][]byte{b.derive(purpose, whose, s.Generation)}
	if s.Generation > 1 && time.Now().Before(s.OldUntil) {
		list = append(list, b.derive(purpose, whose, s.Generation-1))
	}
	return list
}

func (b *Broker) unsubscribeToken(id ferry.ID) string {
	return id.String() + "." + base64.RawURLEncoding.EncodeToString(b.derive(forUnsubscribe, id.String(), 0))
}

// Subscribe makes a subscription for who, or finds the one that is the same.
func (b *Broker) Subscribe(ctx context.Context, spec ferry.SubscriptionSpec, who ferry.Identity) (ferry.NewSubscription, error) {
	if err := b.table.Load().mayCall(spec.CallbackURL); err != nil {
		return ferry.NewSubscription{}, err
	}
	if spec.Route != "" {
		if err := b.knownRoutes([]string{spec.Route}); err != nil {
			return ferry.NewSubscription{}, err
		}
	}
	now := time.Now().UTC()
	sub, merged, err := b.ledger.Subscribe(ctx, store.Subscription{
		ID: ferry.NewID(now), Event: spec.Event, Route: spec.Route, URL: spec.CallbackURL, CreatedAt: now,
		KeyID: who.KeyID, KeyName: who.Name, Role: who.Role, Routes: who.Routes, Check: b.keyCheck(),
	})
	if err != nil {
		return ferry.NewSubscription{}, err
	}
	return b.newSubscription(&sub, merged), nil
}

func (b *Broker) newSubscription(sub *store.Subscription, merged bool) ferry.NewSubscription {
	return ferry.NewSubscription{
		Subscription: b.ledger.Shown(sub), Merged: merged, Token: b.unsubscribeToken(sub.ID),
		Secret: secretText(b.derive(forSubscription, sub.ID.String(), sub.Signer.Generation)),
	}
}

// mayCall says why messages' ends cannot be told at an address.
func (t *table) mayCall(url string) error {
	if t.Caller == nil {
		return ferry.Errorf(ferry.CodeBadCallbackURL, "this broker makes no callbacks").
			WithHint("ask for the message's end: its statusUrl is in the answer, and GET /v1/events lists all ends")
	}
	return t.Caller.MayCall(url)
}

// Subscriptions lists those of who; all of them for operators.
func (b *Broker) Subscriptions(_ context.Context, who ferry.Identity) ([]ferry.Subscription, error) {
	keyID := who.KeyID
	if who.May(ferry.RoleOperator) {
		keyID = ""
	}
	list := b.ledger.Subscriptions(keyID)
	for i := range list {
		list[i].Failing = b.outbox.failing(ferry.NoticeTarget{Kind: ferry.ReplySubscription, Target: list[i].ID.String()})
	}
	return list, nil
}

// subscription finds one that who may change, by its id or a unique end of it.
func (b *Broker) subscription(text string, who ferry.Identity) (ferry.ID, error) {
	keyID := who.KeyID
	if who.May(ferry.RoleOperator) {
		keyID = ""
	}
	text = strings.ToLower(text)
	var found []ferry.ID
	for _, s := range b.ledger.Subscriptions(keyID) {
		if s.ID.String() == text {
			return s.ID, nil
		}
		if ferry.IsIDSuffix(text) && strings.HasSuffix(s.ID.String(), text) {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return ferry.ID{}, ferry.Errorf(ferry.CodeNotFound, "there is no subscription %q", cut(text, 64)).WithHint("GET /v1/subscriptions lists them")
	default:
		return ferry.ID{}, ferry.Errorf(ferry.CodeAmbiguousID, "%d subscriptions end in %s", len(found), text).WithHint("give more of the id")
	}
}

// Unsubscribe ends one that who may end.
func (b *Broker) Unsubscribe(ctx context.Context, id string, who ferry.Identity) error {
	found, err := b.subscription(id, who)
	if err != nil {
		return err
	}
	_, err = b.ledger.Unsubscribe(ctx, found, who.Name)
	return err
}

// UnsubscribeToken ends the one that the token was made for, if there is one. A
// token that is none is no error: it would only make a flow's engine try again.
func (b *Broker) UnsubscribeToken(ctx context.Context, token string) error {
	text, _, _ := strings.Cut(token, ".")
	id, err := ferry.ParseID(text)
	if err != nil || !hmac.Equal([]byte(token), []byte(b.unsubscribeToken(id))) {
		b.log.Debug("somebody ends a subscription with a token that is none")
		return nil
	}
	_, err = b.ledger.Unsubscribe(ctx, id, "the address of Location")
	return err
}

// RotateSubscription gives one another secret; the old one signs as well for keep.
func (b *Broker) RotateSubscription(ctx context.Context, id string, keep time.Duration, who ferry.Identity) (ferry.NewSubscription, error) {
	found, err := b.subscription(id, who)
	if err != nil {
		return ferry.NewSubscription{}, err
	}
	sub, err := b.ledger.RotateSubscription(ctx, found, keep, b.keyCheck(), who.Name)
	if err != nil {
		return ferry.NewSubscription{}, err
	}
	return b.newSubscription(&sub, false), nil
}

// CallbackSecret is what callbacks are signed with that who's messages ask for.
func (b *Broker) CallbackSecret(_ context.Context, who ferry.Identity) (ferry.CallbackSecret, error) {
	return b.callbackSecret(who.KeyID, b.ledger.Signer(who.KeyID)), nil
}

func (b *Broker) callbackSecret(keyID string, s store.Signer) ferry.CallbackSecret {
	is := ferry.CallbackSecret{KeyID: keyID, Secret: secretText(b.derive(forSender, keyID, s.Generation))}
	if !s.Since.IsZero() {
		is.Since = &s.Since
	}
	if s.OldUntil.After(time.Now()) {
		is.OldUntil = &s.OldUntil
	}
	return is
}

// RotateCallbackSecret gives it a successor; the old one signs as well for keep.
func (b *Broker) RotateCallbackSecret(ctx context.Context, keep time.Duration, who ferry.Identity) (ferry.CallbackSecret, error) {
	s, err := b.ledger.RotateSigner(ctx, who.KeyID, keep, who.Name)
	if err != nil {
		return ferry.CallbackSecret{}, err
	}
	return b.callbackSecret(who.KeyID, s), nil
}

// Callbacks lists whom ends of messages wait for, at most ferry.MaxListLimit.
func (b *Broker) Callbacks(context.Context) ([]ferry.CallbackTarget, error) {
	return b.outbox.callbacks(), nil
}

// RetryCallbacks tries callbacks now, or tells the end of a message once more.
func (b *Broker) RetryCallbacks(ctx context.Context, req ferry.RetryRequest, by string) (a ferry.RetryAnswer, err error) {
	if !req.Message.IsZero() {
		a.Told, err = b.ledger.TellAgain(ctx, req.Message, by)
		return a, err
	}
	is := func(to ferry.NoticeTarget) bool {
		switch to.Kind {
		case ferry.ReplyCallback:
			return req.All || to.Target == req.Callback
		case ferry.ReplySubscription, ferry.ReplyOperator:
			return req.All || to.Target == strings.ToLower(req.Callback) || b.shownTarget(to) == req.Callback
		default:
			return false
		}
	}
	late := b.outbox.late(is)
	if len(late) == 0 && !req.All {
		return a, ferry.Errorf(ferry.CodeNotFound, "nothing waits for a next try at %q", maskedTarget(req.Callback)).WithHint("broker callbacks list shows what does")
	}
	target := "every callback that waits"
	if !req.All {
		target = "callbacks to " + maskedTarget(req.Callback)
	}
	// First, so that nothing is done that the audit log does not have.
	if err := b.ledger.NoteAct(ctx, ferry.AuditEntry{By: by, Act: "callbacks retry", Target: target, Detail: fmt.Sprintf("%d targets", len(late))}); err != nil {
		return a, err
	}
	a.Targets = b.outbox.retry(late)
	return a, nil
}

// maskedTarget is a target as an operator named it, who may have pasted an address
// with a signature in it.
func maskedTarget(named string) string {
	if strings.Contains(named, "://") {
		return ferry.MaskURL(named)
	}
	return cut(named, 200)
}

// address fills in where a callback goes and what signs it. It says false for who
// is not told any more.
func (b *Broker) address(e *ferry.Ending) (wanted bool, err error) {
	switch e.To.Kind {
	case ferry.ReplyCallback:
		e.Secrets = b.secretsOf(forSender, e.Asker, b.ledger.Signer(e.Asker))
	case ferry.ReplyOperator:
		return b.addressOperator(e)
	case ferry.ReplySubscription:
		id, err := ferry.ParseID(e.To.Target)
		if err != nil {
			return false, nil //nolint:nilerr // there is no such subscription
		}
		sub, state := b.ledger.Subscription(id)
		switch {
		case sub == nil || state == ferry.SubscriptionDropped:
			return false, nil
		case state == ferry.SubscriptionKeyExpired:
			return true, errors.New("the key that subscribed has expired")
		case e.Operator != nil && !b.ledger.HearsOperators(sub, e.Operator.Route),
			e.Operator == nil && !b.ledger.Hears(sub, e.Envelope.Route):
			return false, nil
		}
		e.URL, e.Secrets = sub.URL, b.secretsOf(forSubscription, sub.ID.String(), sub.Signer)
	}
	return true, nil
}

// shownTarget is what may be shown of a target. That of operators may take a while:
// its address is often a secret.
func (b *Broker) shownTarget(to ferry.NoticeTarget) string {
	if to.Kind == ferry.ReplyOperator {
		return b.shownOperator(to.Target)
	}
	if to.Kind != ferry.ReplySubscription {
		return to.Target
	}
	id, err := ferry.ParseID(to.Target)
	if err != nil {
		return to.Target
	}
	if sub, _ := b.ledger.Subscription(id); sub != nil {
		return ferry.MaskURL(sub.URL)
	}
	return to.Target
}

// dropSubscription ends a subscription whose address is gone, with a trace.
func (b *Broker) dropSubscription(ctx context.Context, to ferry.NoticeTarget, why error) error {
	id, err := ferry.ParseID(to.Target)
	if err != nil {
		return nil //nolint:nilerr // there is no such subscription
	}
	shown := b.shownTarget(to)
	did, err := b.ledger.DropSubscription(ctx, id, fmt.Sprintf("its address answered %d times in a row that there is nothing: %s", ferry.GoneTries, why))
	if err != nil || !did {
		return err
	}
	b.metrics.callbacks("dropped", 1)
	b.log.Error("a subscription is dropped: nothing is at its address", "subscription", id, "to", shown, "error", why)
	return nil
}
