package worker

import (
	"context"
	"sync"

	"ferry"
	"ferry/internal/rules"
)

// alone lets one delivery of a message be worked on at a time in this process.
type alone struct {
	mu   sync.Mutex
	held map[ferry.ID][]chan struct{} // who waits, oldest first
}

// enter waits until no other delivery of the message is worked on.
func (a *alone) enter(ctx context.Context, id ferry.ID) (leave func(), err error) {
	if !rules.On(rules.Alone) {
		return func() {}, nil
	}
	a.mu.Lock()
	if a.held == nil {
		a.held = map[ferry.ID][]chan struct{}{}
	}
	waiting, taken := a.held[id]
	if !taken {
		a.held[id] = nil
		a.mu.Unlock()
		return func() { a.leave(id) }, nil
	}
	turn := make(chan struct{})
	a.held[id] = append(waiting, turn)
	a.mu.Unlock()
	select {
	case <-turn:
		return func() { a.leave(id) }, nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	for i, w := range a.held[id] {
		if w == turn {
			a.held[id] = append(a.held[id][:i], a.held[id][i+1:]...)
			a.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	a.mu.Unlock()
	a.leave(id) // called up already: pass it on
	return nil, ctx.Err()
}

func (a *alone) leave(id ferry.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := a.held[id]
	if len(waiting) == 0 {
		delete(a.held, id)
		return
	}
	a.held[id] = waiting[1:]
	close(waiting[0])
}
