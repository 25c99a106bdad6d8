package client

import (
	"encoding/json"
	"mime"
	"net/http"

	"ferry"
)

// problem is the broker's answer that refuses: RFC 9457 with Ferry's additions.
type problem struct {
	Code      ferry.Code          `json:"code"`
	Title     string              `json:"title"`
	Detail    string              `json:"detail"`
	Hint      string              `json:"hint"`
	RequestID string              `json:"requestId"`
	Errors    []ferry.ErrorDetail `json:"errors"`

	// Of keyReused.
	ID        ferry.ID    `json:"id"`
	Route     string      `json:"route"`
	State     ferry.State `json:"state"`
	StatusURL string      `json:"statusUrl"`
}

func (p *problem) err() *ferry.Error {
	e := &ferry.Error{
		Code: p.Code, Message: p.Detail, Hint: p.Hint, Details: p.Errors, RequestID: p.RequestID,
	}
	if e.Message == "" {
		e.Message = p.Title
	}
	if !p.ID.IsZero() {
		e.Existing = &ferry.Accepted{ID: p.ID, Route: p.Route, State: p.State, StatusURL: p.StatusURL}
	}
	return e
}

// readProblem makes the error of an answer with a status of 300 or more.
func readProblem(resp *http.Response) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	data, err := readAll(resp.Body, 1<<20)
	var p problem
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil || media != "application/problem+json" || p.Code == "" {
		return notABroker(resp, err)
	}
	return p.err()
}

// notABroker is the error of an answer that no broker gives: a proxy's, or that
// of another server.
func notABroker(resp *http.Response, cause error) error {
	e := ferry.Errorf(ferry.CodeInternal, "the server answered %s, but not as a broker does", resp.Status)
	if cause != nil {
		e = ferry.Errorf(ferry.CodeInternal, "the server answered %s, but not as a broker does: %w", resp.Status, cause)
	}
	e.RequestID = resp.Header.Get("X-Request-Id")
	return e.WithHint("check the server's URL; a proxy in between may have answered")
}
