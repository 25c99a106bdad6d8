package api

import (
	"net/http"

	"ferry"
)

// QueueLink lets workers speak to the queue over the port of this surface.
type QueueLink interface {
	// ServeQueue makes the request a WebSocket, and returns: the connection lives on,
	// until the queue ends it. An error says that nothing was answered yet; a
	// *ferry.Error is answered as a refusal. Who may use the queue it decides itself.
	ServeQueue(w http.ResponseWriter, r *http.Request) error
}

// queueLink is the way of workers to the queue.
func queueLink() []endpoint {
	return []endpoint{{
		method: http.MethodGet, path: "/queue", id: "connectWorker", open: true, handle: (*call).queue,
		summary: "Connect a worker to the queue",
		text:    "A WebSocket of binary messages that carries the protocol of NATS, as `worker run` speaks it. The worker proves itself inside it by its nkey: no API key is asked for, and pages in browsers are refused.",
		answers: []reply{{101, "the WebSocket", nil, nil, nil}},
	}}
}

// queue hands the connection over. What happens on it later is none of the call's:
// the access log has its beginning.
func (c *call) queue() error {
	link := c.api.opts.Queue
	if link == nil {
		return ferry.Errorf(ferry.CodeNotFound, "this broker has no queue for workers here")
	}
	if c.api.draining.Err() != nil {
		return ferry.Errorf(ferry.CodeStopping, "the broker is stopping").WithHint("try again in a moment")
	}
	if err := link.ServeQueue(c.w, c.r); err != nil {
		return err
	}
	c.status, c.wrote = http.StatusSwitchingProtocols, true
	return nil
}
