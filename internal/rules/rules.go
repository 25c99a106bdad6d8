// Package rules names the rules of the delivery protocol, docs/protocol.md, so
// that a test can take one away and see a promise break.
//
// In an ordinary build [On] is true for every rule and costs nothing: the
// compiler removes what it guards. Only a build with the tag ferryrules can
// switch one off.
package rules

// Rule is one rule of the protocol.
type Rule int

// The rules, in the order of docs/protocol.md.
const (
	// Turn: the turn rises in each commit that makes a message ready.
	Turn Rule = iota + 1
	// Suffix: each publication has a queue id of its own.
	Suffix
	// Facts: "the destination has it" counts whatever the turn.
	Facts
	// Once: any other receipt counts once, for the turn that is current.
	Once
	// Identity: an inbox refuses what is meant for another.
	Identity
	// TakeOver: a route that gets another inbox waits out what the old one may do.
	TakeOver
	// Word: a take-over waits for the end of the word that the old inbox may still
	// go by.
	Word
	// Binding: what was handed out under an earlier binding is not begun.
	Binding
	// Begun: what is called is on the inbox's disk before the call.
	Begun
	// OldTurn: a turn older than the inbox's is settled silently.
	OldTurn
	// Alone: one delivery of a message at a time in a process.
	Alone
	// Claim: with several workers the ledger grants a turn before the call.
	Claim
	// Holder: with several workers only the claim's holder is heard.
	Holder
	// Deadline: no call starts, or runs, past its deadline.
	Deadline
	// Wait: an unknown outcome is waited out before the lookup.
	Wait
	// Lookup: an unknown outcome is looked up before the message is sent again.
	Lookup
	// Revision: a lookup proves that a document exists, not of which revision.
	Revision
	// Acts: nobody touches what a worker may hold.
	Acts
	// OpenOutcome: no open outcome is given up while somebody can be asked.
	OpenOutcome
	// GiveBack: begun but not called is told as not tried.
	GiveBack
	// Resend: results are told again until they are confirmed.
	Resend
	// AfterCommit: a receipt is acknowledged only after its commit.
	AfterCommit
	// Sweep: a turn that stays silent is published again.
	Sweep
	// Budget: what was not the message's doing spends no attempt.
	Budget
	// Epoch: a restored ledger counts every pending message as begun elsewhere.
	Epoch
	// StatusURL: where to ask for a result is on disk before it is asked, and the
	// message is not sent again meanwhile.
	StatusURL

	last
)

// All lists every rule.
func All() []Rule {
	list := make([]Rule, 0, last-1)
	for r := Rule(1); r < last; r++ {
		list = append(list, r)
	}
	return list
}

func (r Rule) String() string {
	names := [...]string{
		"", "turn", "suffix", "facts", "once", "identity", "takeOver", "word", "binding", "begun", "oldTurn", "alone", "claim", "holder",
		"deadline", "wait", "lookup", "revision", "acts", "openOutcome", "giveBack", "resend", "afterCommit", "sweep",
		"budget", "epoch", "statusURL",
	}
	if r < 1 || r >= last {
		return "unknown"
	}
	return names[r]
}
