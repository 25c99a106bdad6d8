package ferry

import "time"

// CheckState is how one check of the doctor ended.
type CheckState string

// How a check ends. Skipped says why in its text.
const (
	CheckOK      CheckState = "ok"
	CheckWarn    CheckState = "warn"
	CheckFail    CheckState = "fail"
	CheckSkipped CheckState = "skipped"
)

// Check is one thing that the doctor looked at.
type Check struct {
	Name  string     `json:"name"` // a word or two
	State CheckState `json:"state"`
	Text  string     `json:"text"` // a sentence
	Hint  string     `json:"hint,omitempty"`
}

// Diagnosis is what the doctor found.
type Diagnosis struct {
	At          time.Time `json:"at"`
	Environment string    `json:"environment,omitempty"`
	Version     string    `json:"version"`
	Checks      []Check   `json:"checks"`
}

// Well says that nothing needs attention.
func (d *Diagnosis) Well() bool {
	for _, c := range d.Checks {
		if c.State == CheckWarn || c.State == CheckFail {
			return false
		}
	}
	return true
}
