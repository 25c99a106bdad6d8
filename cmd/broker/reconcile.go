package main

import (
	"fmt"
	"strconv"

	"ferry"
)

type reconcileCmd struct {
	Route string `placeholder:"ROUTE" help:"Only this route."`
	Since string `placeholder:"TIME" help:"Only days of acceptance from that one on: a time, or how long ago, such as 7d."`
	Deep  bool   `help:"Read every body and hold it against its hash."`
}

// Run shows, per route and day, that accepted = pending + completed +
// dead-lettered + discarded, and names whatever does not add up, in the ledger or
// between it and the workers. Then it fails.
func (r reconcileCmd) Run(a *app) error {
	since, err := a.past("--since", r.Since)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	proof, err := c.Prove(a.ctx, ferry.ProofRequest{Route: r.Route, Since: since, Deep: r.Deep})
	if err != nil {
		return err
	}
	if a.json() {
		err = a.writeJSON(proof)
	} else {
		err = a.writeProof(&proof)
	}
	if err == nil && !proof.Balanced() {
		return unbalanced(&proof)
	}
	return err
}

func unbalanced(proof *ferry.Proof) error {
	off := 0
	for i := range proof.Items {
		if !proof.Items[i].Balanced {
			off++
		}
	}
	text := fmt.Sprintf("%s of %d not balanced", count(off, "row"), len(proof.Items))
	if n := len(proof.Findings) + int(proof.More); n > 0 {
		text += ", " + count(n, "finding")
	}
	return fmt.Errorf("%s", text)
}

func (a *app) writeProof(proof *ferry.Proof) error {
	p := a.paint()
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	err := writeList(a, proof.Items, "nothing was accepted yet",
		[]column{left("ROUTE"), left("DAY"), right("ACCEPTED"), right("PENDING"), right("COMPLETED"), right("DEAD LETTERS"), right("DISCARDED"), left("BALANCED")},
		func(r ferry.Reconciliation) []any {
			balanced := cell{"yes", p.green}
			if !r.Balanced {
				balanced = cell{"NO", p.red}
			}
			return []any{r.Route, r.Day, n(r.Accepted), n(r.Pending), n(r.Completed), n(r.DeadLetters), n(r.Discarded), balanced}
		})
	if err != nil {
		return err
	}
	for _, w := range proof.Workers {
		if w.Unreached != "" {
			a.remark("the inbox of worker %s was not held against the ledger: %s", printable(w.Worker), oneLine(w.Unreached))
		} else {
			a.remark("the inbox of worker %s was held against the ledger: %s", printable(w.Worker), count(int(w.Records), "record"))
		}
	}
	for i := range proof.Findings {
		f := &proof.Findings[i]
		a.printf("%s %s\n", p.red("!"), a.finding(f))
	}
	if proof.More > 0 {
		a.printf("%s and %d more\n", p.red("!"), proof.More)
	}
	return nil
}

// finding is a line: where it is, which message, and the sentence.
func (a *app) finding(f *ferry.Finding) string {
	text := printable(f.Route)
	if f.Day != "" {
		text += " " + printable(f.Day)
	}
	if !f.ID.IsZero() {
		text += " " + f.ID.String()
	}
	if f.Number > 0 {
		text += " #" + strconv.FormatUint(f.Number, 10)
	}
	return text + ": " + oneLine(f.Text)
}
