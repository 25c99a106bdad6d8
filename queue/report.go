package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"ferry"
)

// ReportCall asks a worker, by a signal, for what its inbox knows. The worker
// answers with ReportPages.
type ReportCall struct {
	Nonce string    `json:"nonce"` // names the question; pages bear it
	Since time.Time `json:"since"` // only messages that were accepted at or after it; zero: all
}

// ReportPage is a part of what a worker's inbox knows, in the order of ids.
type ReportPage struct {
	Worker  string         `json:"worker"` // checked against what the driver authenticated
	Inbox   string         `json:"inbox"`
	Nonce   string         `json:"nonce"`
	Page    int            `json:"page"` // from 0; a page whose answer was lost is sent again
	Records []ReportRecord `json:"records,omitempty"`
	Last    bool           `json:"last,omitempty"`
	Error   string         `json:"error,omitempty"` // why nothing more comes: a sentence
}

// ReportRecord is what an inbox knows of a message.
type ReportRecord struct {
	ID    ferry.ID `json:"id"`
	Route string   `json:"route,omitempty"` // empty: not kept with it
	Turn  uint64   `json:"turn"`            // the highest that the worker saw
	Begun bool     `json:"begun,omitempty"` // a call may have been made; its end is not known
	HasIt bool     `json:"hasIt,omitempty"` // the destination has it
	// Open: the broker has not confirmed the result yet; its receipt may be on the way.
	Open      bool   `json:"open,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// ReportAnswer is the broker's answer to a page.
type ReportAnswer struct {
	Stop bool `json:"stop,omitempty"` // nobody wants more pages
}

// ReportPageMost bounds the records of a page.
const ReportPageMost = 500

// Reporter is a Handler that takes pages of reports. ErrUnauthorized: not from this
// worker. Anything else is a passing fault.
type Reporter interface {
	Report(ctx context.Context, from string, p ReportPage) (ReportAnswer, error)
}

// Report sends a page of what the inbox knows. Workers only.
func (q *Queue) Report(ctx context.Context, p ReportPage) (ReportAnswer, error) {
	var a ReportAnswer
	answer, err := q.ask(ctx, askReport, p)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err != nil {
		return a, fmt.Errorf("report page %d of the inbox: %w", p.Page, err)
	}
	return a, nil
}

func (q *Queue) answerReport(ctx context.Context, handler Handler, from string, data []byte) ([]byte, error) {
	var p ReportPage
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	if p.Nonce == "" || max(len(p.Nonce), len(p.Inbox), len(p.Worker)) > maxName || p.Page < 0 || len(p.Records) > ReportPageMost {
		return nil, fmt.Errorf("%w: a report without a question, or of too many records", errMalformed)
	}
	for i := range p.Records {
		if r := &p.Records[i]; r.ID.IsZero() || len(r.Route) > maxName || len(r.Reference) > 4*ferry.MaxReferenceLength {
			return nil, fmt.Errorf("%w: a report of no message, or with a long reference", errMalformed)
		}
	}
	reporter, ok := handler.(Reporter)
	if !ok {
		return nil, fmt.Errorf("reports are not taken")
	}
	a, err := reporter.Report(ctx, from, p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// decodeReportCall reads the field of a signal; one that makes no sense asks for
// nothing.
func decodeReportCall(v []byte) *ReportCall {
	c := &ReportCall{}
	if err := json.Unmarshal(v, c); err != nil || c.Nonce == "" || len(c.Nonce) > maxName {
		return nil
	}
	return c
}

func appendReportCall(b []byte, c *ReportCall) []byte {
	if c == nil {
		return b
	}
	text, err := json.Marshal(c)
	if err != nil {
		return b // a year beyond 9999: nothing is asked
	}
	return appendBytes(b, signalReport, text)
}
