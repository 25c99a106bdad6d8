package servicebus

import "context"

// MaxBytes is the largest message that the queue takes.
func (s *Sender) MaxBytes(ctx context.Context) (int64, error) { return 256 << 10, nil }

// Host is the namespace's host.
func (c *Client) Host() string { return "" }
