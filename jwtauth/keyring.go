package jwtauth

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"ferry"
)

// How long keys are trusted, and how often an issuer is asked.
const (
	// keysFresh is how long a key that its issuer withdrew may still be taken.
	keysFresh = 5 * time.Minute
	// keysAhead: asked for again in the background before that, so that no caller waits.
	keysAhead = 4 * time.Minute
	// keysStale is how long the keys of an issuer that is away are good: it can
	// withdraw none then, and makes no tokens either.
	keysStale = 24 * time.Hour
	// askPause is between two tries at an issuer that is away.
	askPause = 10 * time.Second
	// Unknown keys may be asked for as often as this: askBurst at once, then one each
	// askEvery.
	askBurst = 5
	askEvery = 10 * time.Second
	// askTime bounds one asking, discovery and keys together.
	askTime = 10 * time.Second
)

// keyring has the keys of one issuer.
type keyring struct {
	issuer string // as its discovery document says it
	source source
	log    *slog.Logger
	ctx    context.Context // of asking, which outlives the request that it is for
	work   *sync.WaitGroup

	mu     sync.Mutex
	set    *keySet   // nil: never told
	asking *asking   // nil: none under way
	failed time.Time // of the last try, when it failed
	err    error
	room   float64 // for unknown keys
	roomAt time.Time
}

// asking is one try to learn the keys.
type asking struct {
	done chan struct{} // closed at its end
	set  *keySet
	err  error
}

func newKeyring(ctx context.Context, work *sync.WaitGroup, issuer, config string, transport http.RoundTripper, log *slog.Logger) *keyring {
	return &keyring{
		issuer: issuer, source: newSource(issuer, config, transport), log: log, ctx: ctx, work: work,
		room: askBurst, roomAt: time.Now(),
	}
}

// current is the issuer's keys, not older than keysFresh, unless the issuer is away.
func (k *keyring) current(ctx context.Context) (*keySet, error) {
	k.mu.Lock()
	set, age := k.set, time.Duration(0)
	if set != nil {
		age = time.Since(set.at)
	}
	switch {
	case set != nil && age < keysFresh:
		if age >= keysAhead {
			k.ask() // nobody waits for it
		}
		k.mu.Unlock()
		return set, nil
	case set != nil && age >= keysStale:
		set = nil
	}
	under, failed := k.ask(), k.err != nil
	k.mu.Unlock()
	if set != nil && (under == nil || failed) {
		return set, nil // it is known to be away: nobody waits for it again
	}
	if under == nil { // too soon after a try that failed
		return nil, k.away()
	}
	fresh, err := under.wait(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && set != nil:
		return set, nil
	case err != nil:
		return nil, k.away()
	}
	return fresh, nil
}

// lookFor is the issuer's keys as it tells them now, because one is wanted that is
// not among those known; those known when it was asked often enough lately.
func (k *keyring) lookFor(ctx context.Context) (*keySet, error) {
	k.mu.Lock()
	if k.asking == nil && !k.mayAsk() {
		defer k.mu.Unlock()
		return k.set, nil
	}
	under := k.ask()
	k.mu.Unlock()
	if under == nil {
		return nil, k.away()
	}
	set, err := under.wait(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, k.away()
	}
	return set, nil
}

// mayAsk takes one of the askings for unknown keys.
func (k *keyring) mayAsk() bool {
	now := time.Now()
	k.room = min(askBurst, k.room+float64(now.Sub(k.roomAt))/float64(askEvery))
	k.roomAt = now
	if k.room < 1 {
		return false
	}
	k.room--
	return true
}

// ask begins to ask the issuer, or joins who asks already; nil when the last try
// failed just now. k.mu is held.
func (k *keyring) ask() *asking {
	switch {
	case k.asking != nil:
		return k.asking
	case !k.failed.IsZero() && time.Since(k.failed) < askPause, k.ctx.Err() != nil:
		return nil
	}
	under := &asking{done: make(chan struct{})}
	k.asking = under
	k.work.Go(func() { k.learn(under) })
	return under
}

// learn asks the issuer and keeps what it says.
func (k *keyring) learn(under *asking) {
	ctx, cancel := context.WithTimeout(k.ctx, askTime)
	defer cancel()
	keys, err := k.source.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(under.done)
	k.asking = nil
	was := k.err
	if err != nil {
		under.err, k.err, k.failed = err, err, time.Now()
		if was == nil && k.ctx.Err() == nil {
			k.log.Warn("the keys of an issuer of tokens cannot be had", "iss", k.issuer, "error", err)
		}
		return
	}
	if was != nil {
		k.log.Info("the keys of an issuer of tokens can be had again", "iss", k.issuer)
	}
	set := &keySet{keys: keys, at: time.Now()}
	if k.set != nil {
		set.serial = k.set.serial
		if !set.same(k.set) {
			set.serial++
			k.log.Info("an issuer of tokens has other keys", "iss", k.issuer, "keys", len(keys))
		}
	}
	under.set, k.set, k.err, k.failed = set, set, nil, time.Time{}
}

func (a *asking) wait(ctx context.Context) (*keySet, error) {
	select {
	case <-a.done:
		return a.set, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// away says that a token cannot be judged, which is not the caller's doing. Why the
// issuer cannot be asked is for the log alone.
func (k *keyring) away() error {
	return ferry.Errorf(ferry.CodeIssuerUnavailable, "the token cannot be judged now: its issuer %s does not tell its keys", shown(k.issuer)).
		WithHint("try again; the broker's log says what is in the way")
}
