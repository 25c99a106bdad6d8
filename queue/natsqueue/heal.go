package natsqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ferry/internal/disk"
	"ferry/queue"
)

// A stream of the embedded server that failed to write, on a full disk say,
// refuses everything until the server is started again, without an answer to
// who publishes. It is made anew instead, once there is room: the ledger
// publishes again what was in it, and workers tell again what was not confirmed.
const (
	healEvery = 5 * time.Second
	healRoom  = 24 << 20 // bytes that have to be free; above what the ledger keeps free
)

// sickStreams lists the streams that failed to write since the server started.
func (s *Server) sickStreams() []string {
	s.mu.Lock()
	ns, stopped := s.nats, s.stopped
	s.mu.Unlock()
	if ns == nil || stopped {
		return nil
	}
	var names []string
	for _, e := range ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if e.Stream == messageStream || e.Stream == receiptStream {
			names = append(names, e.Stream)
		}
	}
	return names
}

func (s *Server) hasRoom() bool {
	free, err := disk.Free(s.opts.StoreDir)
	return err != nil || free >= healRoom
}

// heal makes sick streams anew. sick and room are nil for a server elsewhere,
// which its own operators look after.
func (k *housekeeper) heal(ctx context.Context) {
	if k.sick == nil || time.Since(k.healed) < healEvery {
		return
	}
	k.healed = time.Now()
	for _, name := range k.sick() {
		if !k.room() {
			return
		}
		if err := k.remake(ctx, name); err != nil && ctx.Err() == nil {
			k.log.Warn("queue.stream.remake", "stream", name, "error", err.Error())
			continue
		}
		k.log.Warn("queue.stream.remade", "stream", name, "why", "it could not write, and there is room again",
			"next", "the ledger publishes again what was in it")
	}
}

func (k *housekeeper) remake(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	addresses := k.addresses(name)
	if err := k.manager.js.DeleteStream(ctx, name); err != nil {
		return fmt.Errorf("delete the stream: %w", err)
	}
	for _, address := range addresses {
		if _, err := k.manager.ensure(ctx, address); err != nil {
			return fmt.Errorf("make %s anew: %w", describe(address), err)
		}
	}
	return nil
}

func describe(a queue.Address) string {
	if a.Kind == queue.Messages {
		return "the messages of " + a.Name
	}
	return "the receipts"
}
