package ferry

// State is where a message stands. The ledger stores it; "queued" is shown for
// a pending message that the relay has handed out.
type State string

// The states of a message. docs/states.md draws them.
const (
	StateAccepted     State = "accepted"     // on disk, not handed out yet
	StateQueued       State = "queued"       // handed out to the queue
	StateRetrying     State = "retrying"     // waits for the due time of its next turn
	StateCompleted    State = "completed"    // the destination has it
	StateDeadLettered State = "deadLettered" // set aside for a person
	StateDiscarded    State = "discarded"    // ended by a person
)

// States lists every state in the order in which a message meets them.
func States() []State {
	return []State{StateAccepted, StateQueued, StateRetrying, StateCompleted, StateDeadLettered, StateDiscarded}
}

// Pending says whether the message still waits for its end.
func (s State) Pending() bool {
	return s == StateAccepted || s == StateQueued || s == StateRetrying
}

// Terminal says whether deliveries have ended: completed, dead-lettered or
// discarded. Only completed is absorbing.
func (s State) Terminal() bool {
	return s == StateCompleted || s == StateDeadLettered || s == StateDiscarded
}

// Valid says whether s is one of States.
func (s State) Valid() bool { return s.Pending() || s.Terminal() }

// CanBecome says whether a message may go from s to t. Pending states lead to
// each other and to every end; a dead letter is replayed (queued again),
// accepted or reported delivered after all (completed), or discarded; a
// discarded message may be restored to the dead letters; completed stays.
func (s State) CanBecome(t State) bool {
	switch s {
	case StateAccepted, StateQueued, StateRetrying:
		return t.Valid()
	case StateDeadLettered:
		return t != StateDeadLettered && t.Valid()
	case StateDiscarded:
		return t == StateDeadLettered || t == StateAccepted
	default:
		return false
	}
}

// Reason says why a message became a dead letter.
type Reason string

// The reasons of dead letters.
const (
	ReasonRejected          Reason = "Rejected"          // the destination says that this message can never succeed
	ReasonAttemptsExhausted Reason = "AttemptsExhausted" // every attempt failed
	ReasonExpired           Reason = "Expired"           // its time to live ended first
	ReasonOutcomeUnknown    Reason = "OutcomeUnknown"    // it may already exist at the destination, and nobody can be asked
	ReasonAlreadyExists     Reason = "AlreadyExists"     // a document exists, and it may be that of an earlier revision
	ReasonUndeliverable     Reason = "Undeliverable"     // workers ended again and again while they worked on it, or the queue set it aside
	ReasonBodyMissing       Reason = "BodyMissing"       // its body is gone or was altered
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonRejected, ReasonAttemptsExhausted, ReasonExpired, ReasonOutcomeUnknown,
		ReasonAlreadyExists, ReasonUndeliverable, ReasonBodyMissing,
	}
}

// Valid says whether r is one of Reasons.
func (r Reason) Valid() bool {
	for _, known := range Reasons() {
		if r == known {
			return true
		}
	}
	return false
}
