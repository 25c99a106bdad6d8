package ferry

// WaitFor says which end of a message a sender waits for.
type WaitFor string

// What a sender may wait for.
const (
	WaitEnded     WaitFor = "ended"     // completed, dead-lettered or discarded
	WaitCompleted WaitFor = "completed" // completed or discarded: also across a dead letter, its edit and replay
)

// WaitFors lists every value.
func WaitFors() []WaitFor { return []WaitFor{WaitEnded, WaitCompleted} }

// Over says whether a message in the state s has come to the end that is waited for.
func (w WaitFor) Over(s State) bool {
	if w == WaitCompleted {
		return s == StateCompleted || s == StateDiscarded
	}
	return s.Terminal()
}
