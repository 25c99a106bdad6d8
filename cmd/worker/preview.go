package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
	"ferry/adapters"
	"ferry/worker"
)

type previewCmd struct {
	configFlag
	Route       string `arg:"" help:"Route of the message."`
	File        string `short:"f" required:"" placeholder:"FILE" help:"The message's body; - reads standard input."`
	ContentType string `placeholder:"TYPE" help:"Content type of the body (by the file's name, else application/json)."`
	Key         string `placeholder:"KEY" help:"The sender's idempotency key."`
	OrderingKey string `placeholder:"KEY" help:"The message's ordering key."`
	Correlation string `name:"correlation-id" placeholder:"ID" help:"The message's correlation id."`
	Version     string `placeholder:"VERSION" help:"Version of the route that the message is of."`
	Revision    int    `default:"1" placeholder:"N" help:"Revision of the body: above 1 it was edited."`
	Whole       bool   `help:"Show a large body to its end."`
}

// Run shows the request, and sends nothing.
func (c previewCmd) Run(a *app) error {
	_, setup, err := c.load(a)
	if err != nil {
		return err
	}
	defer func() { _ = setup.Close() }() // nothing was sent
	adapter, err := find(setup, c.Route)
	if err != nil {
		return err
	}
	body, err := c.body(a)
	if err != nil {
		return err
	}
	if c.Revision < 1 {
		return &usageError{message: fmt.Sprintf("--revision %d is out of range", c.Revision), hint: "1 or more"}
	}
	now := time.Now()
	id := ferry.NewID(now)
	p, err := adapter.Preview(a.ctx, adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: id, Route: c.Route, Turn: 1, Revision: c.Revision, Generation: 1, Attempt: 1,
		ExternalKey: ferry.ExternalKey(id, c.Key), IdempotencyKey: c.Key, ContentType: c.contentType(),
		OrderingKey: c.OrderingKey, CorrelationID: c.Correlation, Version: c.Version,
		CreatedAt: now, PublishedAt: now, Body: body, Size: int64(len(body)),
	}})
	if err != nil {
		return err
	}
	most := maxShown
	if c.Whole {
		most = len(p.Body)
	}
	return write(a.stdout, p, most)
}

func find(setup *worker.Setup, name string) (adapters.Adapter, error) {
	known := make([]string, 0, len(setup.Routes))
	for _, r := range setup.Routes {
		if r.Name == name {
			return r.Adapter, nil
		}
		known = append(known, r.Name)
	}
	return nil, ferry.Errorf(ferry.CodeRouteNotFound, "the configuration has no route %q", name).
		WithHint("its routes: %s", strings.Join(known, ", "))
}

func (c previewCmd) body(a *app) ([]byte, error) {
	from := a.stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, fmt.Errorf("the message cannot be read: %w", err)
		}
		defer func() { _ = f.Close() }() // read only: nothing to lose
		from = f
	}
	body, err := io.ReadAll(io.LimitReader(from, ferry.MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the message cannot be read: %w", err)
	}
	if len(body) > ferry.MaxBody {
		return nil, ferry.Errorf(ferry.CodeTooLarge, "the message has more than %d bytes", ferry.MaxBody)
	}
	return body, nil
}

func (c previewCmd) contentType() string {
	switch {
	case c.ContentType != "":
		return c.ContentType
	case strings.EqualFold(filepath.Ext(c.File), ".xml"):
		return "application/xml"
	default:
		return "application/json"
	}
}

// maxShown bounds how much of a body is shown unless it is asked for, in bytes.
const maxShown = 64 << 10

// write prints the request as it would look on the wire, at most `most` bytes of its
// body.
func write(to io.Writer, p adapters.Preview, most int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", p.Method, harmless(p.URL))
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", http.CanonicalHeaderKey(name), harmless(p.Header[name]))
	}
	b.WriteString("\n" + shownBody(p.Body, most))
	if !strings.HasSuffix(b.String(), "\n") {
		b.WriteString("\n")
	}
	_, err := io.WriteString(to, b.String())
	return err
}

// shownBody is a body for people: cut, and said to be binary where it is.
func shownBody(body string, most int) string {
	if !utf8.ValidString(body) || strings.ContainsRune(body, 0) {
		return fmt.Sprintf("(%d bytes, binary)", len(body))
	}
	if len(body) <= most {
		return harmless(body)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(body[cut]) {
		cut--
	}
	return harmless(body[:cut]) + fmt.Sprintf("\n(%d bytes more of %d: --whole shows them)", len(body)-cut, len(body))
}

// harmless takes out of a text what could steer a terminal.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r >= 0x7f && r < 0xa0 {
			return '·'
		}
		return r
	}, s)
}
