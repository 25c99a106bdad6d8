package ferry

import "time"

// Duplicates says by what a message without an idempotency key is known as a
// repeat of one that a flow sent before.
type Duplicates string

// By what repeats without a key are known.
const (
	// DuplicatesTracking: by the flow's run, its action, the tracking id of this
	// execution of it, and the body. Without the tracking id it is only possible.
	DuplicatesTracking Duplicates = "tracking"
	// DuplicatesRun: by run, action and body. Equal items of one loop count once.
	DuplicatesRun Duplicates = "run"
	DuplicatesOff Duplicates = "off"
)

// RepeatWindow is for how long a repeat without a key is known.
const RepeatWindow = 2 * time.Hour
