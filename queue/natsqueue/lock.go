package natsqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ferry/queue"
)

// lockOf is how long deliveries from the address are locked at a time.
func (d *driver) lockOf(from queue.Address) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if lock := d.locks[from]; lock > 0 {
		return lock
	}
	return d.props.Lock
}

// learnLock asks the server once for the address's lock: the broker sets it, and
// a worker that renewed by another figure would lose what it holds.
func (d *driver) learnLock(ctx context.Context, from queue.Address) error {
	d.mu.Lock()
	known := d.locks[from] > 0
	d.mu.Unlock()
	if known {
		return nil
	}
	names := namesOf(from, d.worker)
	answer, err := d.ask(ctx, infoSubject+names.stream+"."+names.consumer, nil)
	if errors.Is(err, queue.ErrUnavailable) {
		return fmt.Errorf("%s: %w", names.subject, queue.ErrUnavailable)
	}
	if err != nil {
		return err
	}
	var info struct {
		Config struct {
			AckWait time.Duration `json:"ack_wait"`
		} `json:"config"`
		Error *struct {
			Code        int    `json:"code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(answer, &info); {
	case err != nil:
		return fmt.Errorf("%s: an answer that cannot be read: %w", names.subject, queue.ErrUnavailable)
	case info.Error != nil && info.Error.Code == 404:
		return fmt.Errorf("%s: %s: %w", names.subject, info.Error.Description, queue.ErrNotFound)
	case info.Error != nil:
		return fmt.Errorf("%s: %s: %w", names.subject, info.Error.Description, queue.ErrUnavailable)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locks[from] = info.Config.AckWait
	return nil
}
