package config

import (
	"errors"
	"fmt"
	"strings"

	"ferry"
)

// Problem is one fault of a configuration file.
type Problem struct {
	File    string
	Line    int    // from 1; 0 when the fault has no place of its own
	Message string // a sentence; it never holds a secret
	Hint    string // what to do, where one helps
}

func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// Problems are all faults of one file, in the order of its lines. The loaders
// return them inside a *ferry.Error of the code badConfiguration.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
		if p.Hint != "" && len(ps) > 1 {
			lines[i] += " (" + p.Hint + ")"
		}
	}
	return strings.Join(lines, "\n")
}

// edge makes the error that the loaders return, nil without problems.
func (ps Problems) edge() error {
	if len(ps) == 0 {
		return nil
	}
	err := ferry.Errorf(ferry.CodeBadConfig, "%w", ps)
	for _, p := range ps {
		err.Details = append(err.Details, ferry.ErrorDetail{Detail: p.String()})
	}
	if len(ps) == 1 {
		err.Hint = ps[0].Hint
	}
	return err
}

// sentence splits an error into the words for the problem and its hint.
func sentence(err error) (message, hint string) {
	var edge *ferry.Error
	if errors.As(err, &edge) {
		return edge.Message, edge.Hint
	}
	return err.Error(), ""
}

// nearest is the known word that is closest to word, "" when none is close.
func nearest(word string, known []string) string {
	best, limit := "", 1+len(word)/3
	for _, k := range known {
		if d := ferry.Distance(strings.ToLower(word), strings.ToLower(k)); d <= limit {
			best, limit = k, d-1
		}
	}
	return best
}
