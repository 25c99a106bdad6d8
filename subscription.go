package ferry

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"time"
)

// SubscribedEvents lists the events that can be subscribed to.
func SubscribedEvents() []EventType { return []EventType{EventCompleted, EventDeadLettered} }

// EventOf is the event of a message that came to the state, "" while it is pending.
func EventOf(s State) EventType {
	switch s {
	case StateCompleted:
		return EventCompleted
	case StateDeadLettered:
		return EventDeadLettered
	case StateDiscarded:
		return EventDiscarded
	default:
		return ""
	}
}

// SubscriptionSpec is what somebody wants to be told, and where.
type SubscriptionSpec struct {
	Event       EventType
	Route       string // empty: every route that the key may see
	CallbackURL string
}

// SubscriptionState says whether a subscription is told anything.
type SubscriptionState string

// The states of a subscription.
const (
	SubscriptionActive     SubscriptionState = "active"
	SubscriptionKeyExpired SubscriptionState = "keyExpired" // silent until its key's expiry is moved
	SubscriptionDropped    SubscriptionState = "dropped"    // ended by the broker; shown for SubscriptionShown
)

// SubscriptionStates lists the states of a subscription.
func SubscriptionStates() []SubscriptionState {
	return []SubscriptionState{SubscriptionActive, SubscriptionKeyExpired, SubscriptionDropped}
}

// Subscription is who is told the ends of messages, as it may be shown: where to
// is masked, since the address is often a secret.
type Subscription struct {
	ID        ID                `json:"id"`
	Event     EventType         `json:"event"`
	Route     string            `json:"route,omitempty"` // none: every route that the key may see
	Callback  string            `json:"callback"`        // MaskURL of the address
	State     SubscriptionState `json:"state"`
	KeyID     string            `json:"keyId"`
	KeyName   string            `json:"keyName"`
	CreatedAt time.Time         `json:"createdAt"`
	// SecretSince is when the secret that signs was made; OldSecretUntil until when the
	// one before signs as well.
	SecretSince    time.Time  `json:"secretSince"`
	OldSecretUntil *time.Time `json:"oldSecretUntil,omitempty"`
	DroppedAt      *time.Time `json:"droppedAt,omitempty"`
	DroppedWhy     string     `json:"droppedWhy,omitempty"`
	Waiting        int        `json:"waiting"` // ends that wait to be told
	// What the broker has met since it started.
	Failing *Failing `json:"failing,omitempty"`
}

// Failing is how a target is that could not be told.
type Failing struct {
	Since time.Time `json:"since"`
	Tries int       `json:"tries"` // in a row
	Next  time.Time `json:"next"`
	Why   string    `json:"why"`
}

// NewSubscription is the answer to who subscribed or gave a subscription another
// secret.
type NewSubscription struct {
	Subscription
	Secret string `json:"secret"` // whsec_…, which its callbacks are signed with
	// Token stands for the key in the DELETE of the subscription.
	Token string `json:"-"`
	// Merged: the same subscription was there already.
	Merged bool `json:"merged"`
}

// CallbackSecret is what callbacks are signed with that a key's messages asked for.
type CallbackSecret struct {
	KeyID    string     `json:"keyId"`
	Secret   string     `json:"secret"` // whsec_…
	Since    *time.Time `json:"since,omitempty"`
	OldUntil *time.Time `json:"oldUntil,omitempty"` // until when the one before signs as well
}

// CallbackTarget is a target of callbacks that ends wait for.
type CallbackTarget struct {
	Kind         string   `json:"kind"`     // ReplyCallback or ReplySubscription
	Callback     string   `json:"callback"` // MaskURL of the address
	Route        string   `json:"route,omitempty"`
	Subscription ID       `json:"subscription,omitzero"`
	Waiting      int      `json:"waiting"`
	Failing      *Failing `json:"failing,omitempty"`
}

// RetryRequest asks for callbacks to be tried now: one of its members.
type RetryRequest struct {
	Callback string `json:"callback,omitempty" doc:"a target that waits, as the list shows it, or a subscription's id"`
	Message  ID     `json:"message,omitzero" doc:"tell the end of this message once more to who asked with it and to who subscribed"`
	All      bool   `json:"all,omitempty" doc:"every target that waits"`
}

// RetryAnswer says what is tried.
type RetryAnswer struct {
	Targets int `json:"targets"` // that are tried now
	Told    int `json:"told"`    // notices that were made anew, of one message
}

// Bounds of callbacks.
const (
	MaxSubscriptions       = 1000
	MaxCallbackURL         = 4 << 10            // bytes
	MaxCallbacksPerMessage = 10                 // that repeats of a message asked for
	SubscriptionShown      = 7 * 24 * time.Hour // for how long a dropped one is listed
	SecretOverlap          = 24 * time.Hour     // for how long an old secret signs as well, unless said otherwise
	MaxSecretOverlap       = 30 * 24 * time.Hour
	// A subscription whose address answers 404 or 410 GoneTries times in a row, with
	// growing pauses, is dropped; so is a callback that a message asked for.
	GoneTries = 10
)

// MaskURL is what may be shown of an address whose path and query are often
// secrets: its host, and enough of a hash to tell it from others.
func MaskURL(address string) string {
	host := "?"
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host = strings.ToLower(u.Host)
	}
	sum := sha256.Sum256([]byte(address))
	return host + "/…" + hex.EncodeToString(sum[:8])
}
