package servicebus

import (
	"context"
	"errors"
	"time"
)

// Admin looks at queues and makes them. It needs the right Manage.
type Admin struct {
	client *Client
}

// QueueInfo is what a namespace says of a queue.
type QueueInfo struct {
	Name               string
	Lock               time.Duration
	DuplicateWindow    time.Duration // 0: duplicates are not detected
	MaxDeliveries      int
	TimeToLive         time.Duration
	DeadLetterOnExpiry bool
	MaxMessageKiB      int64 // 0: the namespace does not say (Standard and Basic: 256)
	RequiresSession    bool
	Partitioned        bool
	Created            time.Time
	Active, Dead       int64 // messages
}

// QueueSpec says how a queue is made. Zero values leave the service's defaults.
type QueueSpec struct {
	Name               string
	Lock               time.Duration // at most 5 min
	DuplicateWindow    time.Duration // 20 s to 7 d; 0: duplicates are not detected
	MaxDeliveries      int
	TimeToLive         time.Duration
	DeadLetterOnExpiry bool
	MaxMessageKiB      int64 // Premium only
}

// Admin is the handle for looking at queues and making them.
func (c *Client) Admin() *Admin { return &Admin{client: c} }

// Queue looks at a queue. ErrNotFound: there is none; ErrUnauthorized: no right
// to look.
func (a *Admin) Queue(ctx context.Context, name string) (QueueInfo, error) {
	return QueueInfo{}, errors.ErrUnsupported
}

// Create makes a queue, and says whether it was made: false when it is there
// already, whatever its settings.
func (a *Admin) Create(ctx context.Context, spec QueueSpec) (made bool, err error) {
	return false, errors.ErrUnsupported
}
