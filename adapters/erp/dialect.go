package erp

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// dialect is one kind of ERP: how messages are put to it, and what its answers
// mean. The zero value of every field but the tables is plain HTTP.
type dialect struct {
	verdicts httpcall.Table // of calls that write
	// lookups judges answers to what only reads. [absent] says that there is no such
	// document; what no rule matches is read when its status is 200, else failed.
	lookups httpcall.Table
	// settings are the keys that it takes beside those of every dialect.
	settings []string
	// open checks and completes the destination's settings.
	open func(d *destination) error
	// form is how the messages of one route look. It may complete cfg, whose jq
	// programs are compiled afterwards. nil: HTTP as configured.
	form func(r *route, cfg *adapters.RouteConfig) (form, error)
	// session is what a conversation needs beside credentials. nil: nothing.
	session func(d *destination) session
	// problem reads what an answer says went wrong. nil: httpcall.DecodeProblem.
	problem func(a *httpcall.Answer) httpcall.Problem
	// ownLogon: the credentials travel in the body, which the form sees to.
	ownLogon bool
	// health is what check and probe ask where no health.url is configured; probe
	// makes that request where it is more than a GET. Neither writes.
	health string
	probe  func(d *destination) (*operation, error)
}

// Kinds of rules that are no verdicts: the host finds out what they come to.
const (
	// conflict: the destination claims a duplicate.
	conflict ferry.VerdictKind = "conflict"
	// absent, of lookups: there is no such document.
	absent ferry.VerdictKind = "absent"
	// stale, of an update: the document was changed since it was read. It is read,
	// and written, once more; then it is failed.
	stale ferry.VerdictKind = "stale"
	// repeated: the destination took the same request before, and works on it, or
	// did. Its Location names what can be asked.
	repeated ferry.VerdictKind = "repeated"
)

// form makes the requests of one route in its dialect, and reads the answers. It
// makes no calls. An error of a maker is the message's fault, or that of the
// route's map. All methods may be called concurrently.
type form interface {
	// write is the request that creates the document, or writes over it.
	write(ctx context.Context, m *message) (*operation, error)
	// find is the request that asks for the document of m's key. It is called only
	// on routes with a lookup, and writes nothing.
	find(ctx context.Context, m *message) (*operation, error)
	// found reads the answer to find, of which no rule said that there is none:
	// value is its JSON. A nil document: there is none. With a *severalError the
	// document is one of several that bear the key.
	found(m *message, a *httpcall.Answer, value any) (document any, err error)
	// document is what the jq programs of the route see of the answer to a write.
	document(value any) any
}

// searcher is a form that has the document asked for before it is written, since
// nothing at the destination keeps a second one away.
type searcher interface {
	searches(m *message) bool
}

// updater is a form that can write over a document that is there: with write:
// update, and a draft of an earlier revision before it is finished.
type updater interface {
	update(ctx context.Context, m *message, document any) (*operation, error)
}

// finisher is a form whose documents need an act after they were created, such
// as posting. The act may be repeated without harm.
type finisher interface {
	finished(document any) bool
	finish(ctx context.Context, m *message, document any) (*operation, error)
}

// reader is a form whose answers to writes name the document and do not hold it:
// true has it asked for once more after it was written, for the lookup's reference
// and result.
type reader interface {
	reads() bool
}

// asker is a form that asks what became of a message other than by GET.
type asker interface {
	ask(ctx context.Context, m *message, status *url.URL) (*operation, error)
}

// namer is a form that knows the document's number where the route has no jq for
// it, of the answer to a write, or to a poll, at asked; "" where it does not.
type namer interface {
	named(a *httpcall.Answer, asked *url.URL) string
}

// queuer is a form whose destination puts messages into a queue, and names no
// address to ask in a header. queued makes it of the answer to a write; "" where
// the answer says nothing that could be asked for.
type queuer interface {
	queued(a *httpcall.Answer) (address string)
}

// teller is a form whose destination says in its own way what became of a
// message that it took to answer later.
type teller interface {
	// told reads an answer to a poll at asked, of any status: what it says of the
	// work, or another address that has to be asked for it. Unsaid: the answer is to
	// be read as any other.
	told(a *httpcall.Answer, asked *url.URL) (state opState, next string)
}

// unpacker is a form whose answers hold several: it gives the one that counts. One
// with Err is an answer that does not tell.
type unpacker interface {
	unpack(ctx context.Context, m *message, a *httpcall.Answer) *httpcall.Answer
}

// questioner is a form that asks in more than one way: lookups judges the answers
// to its way, before the dialect's table does.
type questioner interface {
	lookups() httpcall.Table
}

// noter is a form that has something to say about an answer that was a success.
type noter interface {
	note(a *httpcall.Answer) string
}

// session is what a destination wants beside credentials, shared by its routes.
type session interface {
	// prepare puts it on the request, and has it fetched first where need be. The
	// error is an httpauth.ErrUnavailable, an httpauth.ErrRefused, or of a secret.
	prepare(ctx context.Context, req *http.Request) error
	// ended tells that a answered req. True: the session was over, which was
	// refused before anything was written, and the next prepare makes a new one.
	ended(req *http.Request, a *httpcall.Answer, p httpcall.Problem) bool
	// show puts httpauth.Mask where prepare puts what would log on. It fetches nothing.
	show(req *http.Request)
	// redact takes what would log on out of a text.
	redact(text string) string
	// close logs out, within ctx.
	close(ctx context.Context)
}

// operation is a request to be made: all but credentials and what every request bears.
type operation struct {
	method string
	url    string        // absolute
	parsed *url.URL      // of url, where it was read before; nil: it is read now
	header http.Header   // wins over what is configured; may be nil
	body   io.ReadCloser // nil: none
	size   int64         // of body, in bytes
	calls  string        // what is called, where the address does not say: shown with the request
}

// line names the request in attempts.
func (o *operation) line(req *http.Request) string {
	line := requestLine(req.Method, req.URL)
	if o.calls != "" {
		line += " " + o.calls
	}
	return line
}

// drop gives up an operation that is not made.
func (o *operation) drop() {
	if o != nil && o.body != nil {
		_ = o.body.Close() // it was read only
	}
}

// newOperation makes an operation with value as its JSON body; nil: none.
func newOperation(method, address string, value any) (*operation, error) {
	op := &operation{method: method, url: address, header: http.Header{}}
	if value == nil {
		return op, nil
	}
	data, err := mapping.Encode(value)
	if err != nil {
		return nil, err
	}
	op.header.Set("Content-Type", "application/json")
	op.body, op.size = ferry.NewBodyReader(data), int64(len(data))
	return op, nil
}

// How a route writes.
const (
	writeCreate = "create" // the default
	writeUpsert = "upsert" // creates, or writes over the document of the same key
	writeUpdate = "update" // writes over the document of the key, which must be there
)

// refuseSettings refuses settings that the dialect does not take: left in place
// they look as if they worked. what is "destination" or "route".
func (d *dialect) refuseSettings(name string, given map[string]bool) error {
	for _, setting := range sortedKeys(given) {
		if given[setting] && !slices.Contains(d.settings, setting) {
			err := bad("dialect %s takes no %s", name, setting)
			if len(d.settings) > 0 {
				return err.WithHint("it takes %s", strings.Join(d.settings, ", "))
			}
			return err
		}
	}
	return nil
}

func destinationSettings(cfg *adapters.DestinationConfig) map[string]bool {
	return map[string]bool{
		"database": cfg.Database != "", "company": cfg.Company != "", "client": cfg.Client != "",
		"version": cfg.Version != "", "spec": cfg.Spec != "",
	}
}

func routeSettings(cfg *adapters.RouteConfig) map[string]bool {
	return map[string]bool{
		"entity": cfg.Entity != "", "write": cfg.Write != "", "key": len(cfg.Key) > 0,
		"finish": cfg.Finish != "", "batch": cfg.Batch, "async": cfg.Async, "company": cfg.Company != "", "activity": cfg.Activity != "",
		"url": cfg.URL != "", "method": cfg.Method != "",
		"cloudEvents": cfg.CloudEvents != "",
		"lookup.url":  cfg.Lookup != nil && cfg.Lookup.URL != "",
		"operation":   cfg.Operation != "", "parameters": len(cfg.Parameters) > 0,
		"lookup.where":  cfg.Lookup != nil && cfg.Lookup.Where != "",
		"lookup.fields": cfg.Lookup != nil && len(cfg.Lookup.Fields) > 0,
	}
}

// problemOf reads what an answer says went wrong.
func (d *dialect) problemOf(a *httpcall.Answer) httpcall.Problem {
	if d.problem != nil {
		return d.problem(a)
	}
	return httpcall.DecodeProblem(a.Body)
}
