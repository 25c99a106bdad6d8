package erp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/mapping"
)

// odooJSONRPC is the dialect of Odoo's /jsonrpc, which is deprecated since
// version 19: errors come with status 200, and the password stands in every body.
// Modelled on Odoo's own addons/rpc and odoo/http.
func odooJSONRPC() dialect {
	return dialect{
		verdicts: slices.Concat(odooErrors(), rest().verdicts),
		lookups:  odooLookups(),
		settings: odooSettings(),
		open: func(d *destination) error {
			if d.cfg.Database == "" {
				return bad("database is missing").WithHint("the name of Odoo's database")
			}
			if _, ok := d.auth.(httpauth.Credentials); !ok {
				return bad("auth: dialect odoo-jsonrpc logs on with user and password").
					WithHint("auth: {type: basic, username: …, password: env:NAME}; an API key may stand for the password")
			}
			return nil
		},
		form: func(r *route, cfg *adapters.RouteConfig) (form, error) {
			return odooForm(r, cfg, &jsonrpcCaller{dest: r.dest, model: cfg.Entity})
		},
		session:  func(d *destination) session { return &odooSession{dest: d, turn: make(chan struct{}, 1)} },
		problem:  odooRPCProblem,
		ownLogon: true,
		probe: func(d *destination) (*operation, error) {
			return (&jsonrpcCaller{dest: d, model: "res.users"}).call("context_get", nil, nil)
		},
	}
}

// odooRPCProblem reads error{code, message, data{name, message, …}}. An answer
// without a result is a method that gave None.
func odooRPCProblem(a *httpcall.Answer) httpcall.Problem {
	o, ok := isObject(a.Body)
	failure, failed := o["error"].(map[string]any)
	switch {
	case !ok && a.Status < 300:
		return httpcall.Problem{} // whether it is JSON at all is asked by a rule
	case ok && failed:
	case ok && o["error"] == nil && (o["jsonrpc"] != nil || o["result"] != nil):
		return httpcall.Problem{}
	case a.Status < 300:
		return httpcall.Problem{Code: noResult}
	default:
		return httpcall.DecodeProblem(a.Body)
	}
	data, _ := failure["data"].(map[string]any)
	p := odooException(map[string]any{"name": data["name"], "message": data["message"], "arguments": data["arguments"]})
	if data["message"] == nil && failure["message"] != nil {
		p.Text, _ = failure["message"].(string)
	}
	switch number, _ := failure["code"].(json.Number); {
	case number == "100":
		p.Code = "odoo.http.SessionExpiredException"
	case number == "404" && p.Code == noClass:
		p.Code = "werkzeug.exceptions.NotFound"
	}
	return p.Bounded()
}

// jsonrpcCaller makes the requests for a model. Where user and password belong it
// puts a mask: the session fills them in.
type jsonrpcCaller struct {
	dest  *destination
	model string
}

func (j *jsonrpcCaller) call(method string, ids []any, arguments []argument) (*operation, error) {
	positional, named := []any{}, map[string]any{}
	if ids != nil {
		positional = append(positional, ids)
	}
	for _, a := range arguments {
		switch list, _ := a.value.([]any); {
		case a.named:
			named[a.name] = a.value
		case a.name == "vals_list" && len(list) == 1:
			positional = append(positional, list[0]) // versions before 12 take no list
		default:
			positional = append(positional, a.value)
		}
	}
	call, err := mapping.Encode([]any{j.model, method, positional, named})
	if err != nil {
		return nil, err
	}
	head, err := odooHead(j.dest.cfg.Database, json.Number("0"), httpauth.Mask)
	if err != nil {
		return nil, err
	}
	body := slices.Concat(head, []byte(","), call[1:], []byte(`,"method":"execute_kw","service":"object"}}`))
	return &operation{
		method: http.MethodPost, url: odooAddress(j.dest), header: http.Header{"Content-Type": {"application/json"}},
		body: ferry.NewBodyReader(body), size: int64(len(body)), calls: j.model + "." + method,
	}, nil
}

func (j *jsonrpcCaller) result(answer any) any {
	o, _ := answer.(map[string]any)
	return o["result"]
}

// odooHead is how the body of a call begins, up to the password.
func odooHead(database string, uid json.Number, password string) ([]byte, error) {
	who, err := mapping.Encode([]any{database, uid, password})
	if err != nil {
		return nil, err
	}
	return append([]byte(`{"id":1,"jsonrpc":"2.0","method":"call","params":{"args":`), who[:len(who)-1]...), nil
}

func odooAddress(d *destination) string {
	if d.base.query != "" {
		return d.base.prefix + "/jsonrpc?" + d.base.query
	}
	return d.base.prefix + "/jsonrpc"
}

// odooSession knows the number of the user, which a log-on gives and every call
// repeats, with the password.
type odooSession struct {
	dest *destination

	turn chan struct{} // of one: whoever has put in may touch what follows
	uid  json.Number   // "": not logged on
}

// logonError is why a log-on failed; kind is one of httpauth's two errors.
type logonError struct {
	kind error
	text string
}

func (e *logonError) Error() string { return e.text }
func (e *logonError) Unwrap() error { return e.kind }

// prepare fills user and password into the body, where the mask stands.
func (s *odooSession) prepare(ctx context.Context, req *http.Request) error {
	username, password, err := s.dest.auth.(httpauth.Credentials).Credentials()
	if err != nil {
		return err
	}
	uid, err := s.logon(ctx, username, password.Reveal())
	if err != nil {
		return err
	}
	masked, err := odooHead(s.dest.cfg.Database, json.Number("0"), httpauth.Mask)
	if err != nil {
		return err
	}
	head, err := odooHead(s.dest.cfg.Database, uid, password.Reveal())
	if err != nil {
		return err
	}
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(body, masked)
	if !ok {
		return errors.New("the request has no place for user and password")
	}
	whole := slices.Concat(head, rest)
	req.Body, req.ContentLength = ferry.NewBodyReader(whole), int64(len(whole))
	return nil
}

// logon gives the user's number. It is asked for once, also by several at a time.
func (s *odooSession) logon(ctx context.Context, username, password string) (json.Number, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", &logonError{httpauth.ErrUnavailable, "logging on to Odoo took too long"}
	}
	if s.uid != "" {
		return s.uid, nil
	}
	body, err := mapping.Encode(map[string]any{
		"id": json.Number("1"), "jsonrpc": "2.0", "method": "call",
		"params": map[string]any{"service": "common", "method": "login", "args": []any{s.dest.cfg.Database, username, password}},
	})
	if err != nil {
		return "", err
	}
	req, err := httpcall.NewRequest(ctx, http.MethodPost, odooAddress(s.dest), body)
	if err != nil {
		return "", err
	}
	setAll(req.Header, s.dest.cfg.Headers)
	standardHeaders(req.Header)
	req.Header.Set("Content-Type", "application/json")
	a := httpcall.Do(s.dest.transport, req)
	if a.Err != nil {
		kind := httpauth.ErrUnavailable
		if a.Failure == httpcall.FailureTLS {
			kind = httpauth.ErrRefused
		}
		return "", &logonError{kind, fmt.Sprintf("logging on to Odoo failed (%s): %v", a.Failure, a.Err)}
	}
	answer, _ := isObject(a.Body)
	switch uid := answer["result"].(type) {
	case json.Number:
		s.uid = uid
		return uid, nil
	case bool:
		// Odoo says the same for some time after too many wrong passwords.
		return "", &logonError{httpauth.ErrRefused, fmt.Sprintf("Odoo does not know user %s of database %s with this password", username, s.dest.cfg.Database)}
	}
	problem := odooRPCProblem(a)
	rule, ok := httpcall.Judge(context.WithoutCancel(ctx), a, problem, s.dest.dialect.lookups)
	kind := httpauth.ErrUnavailable
	if ok && rule.Kind == ferry.Unauthorized {
		kind = httpauth.ErrRefused
	}
	text := sentences(fmt.Sprintf("logging on to Odoo is answered with status %d", a.Status), rule.Text, problem.Text)
	return "", &logonError{kind, s.dest.auth.Redact(cut(text, ferry.MaxAttemptText))}
}

// ended: a number that was good before is not any more; or the password is new.
func (s *odooSession) ended(req *http.Request, _ *httpcall.Answer, p httpcall.Problem) bool {
	if !strings.HasSuffix(p.Code, ".AccessDenied") && !strings.HasSuffix(p.Code, ".SessionExpiredException") {
		return false
	}
	select {
	case s.turn <- struct{}{}:
		s.uid = ""
		<-s.turn
		return true
	case <-req.Context().Done():
		return false
	}
}

// show: the mask stands in the body from the beginning.
func (s *odooSession) show(*http.Request) {}

func (s *odooSession) redact(text string) string { return text }

// close: there is nothing to log out of.
func (s *odooSession) close(context.Context) {}
