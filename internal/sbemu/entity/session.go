package entity

import (
	"context"
	"time"
)

// AcceptSession attaches a receiver that holds a session: the one named, or the next
// free one that has messages when id is nil. It waits for a free one until ctx
// ends: ErrNoSession when its deadline passed, else the context's error.
// ErrSessionHeld when the named session is held, ErrNotAllowed on a queue without
// sessions; otherwise as Attach.
func (s *Source) AcceptSession(ctx context.Context, id *string, o ReceiverOptions) (*Receiver, error) {
	return nil, nil
}

// Session is the id of the session that the receiver holds; false: none.
func (r *Receiver) Session() (string, bool) { return "", false }

// LockedUntil is when the lock on the receiver's session ends.
func (r *Receiver) LockedUntil() time.Time { return time.Time{} }

// RenewSession starts the time of a session's lock anew and returns its end:
// ErrSessionLost when nobody holds it.
func (s *Source) RenewSession(id string) (time.Time, error) { return time.Time{}, nil }

// SessionState is the state kept with a session, nil for none: ErrSessionLost when
// nobody holds the session.
func (s *Source) SessionState(id string) ([]byte, error) { return nil, nil }

// SetSessionState sets it; nil clears it. At most MaxState bytes: ErrTooLarge.
// ErrSessionLost.
func (s *Source) SetSessionState(id string, state []byte) error { return nil }

// Sessions lists sessions by id, top of them after the first skip ones: those with
// messages when since is zero, else those whose state was set after since.
func (s *Source) Sessions(since time.Time, skip, top int) ([]string, error) { return nil, nil }
