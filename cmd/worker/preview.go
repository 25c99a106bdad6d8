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
	now := time.Now()
	id := ferry.NewID(now)
	p, err := adapter.Preview(a.ctx, adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: id, Route: c.Route, Turn: 1, Revision: 1, Generation: 1, Attempt: 1,
		ExternalKey: ferry.ExternalKey(id, c.Key), IdempotencyKey: c.Key, ContentType: c.contentType(),
		CreatedAt: now, PublishedAt: now, Body: body, Size: int64(len(body)),
	}})
	if err != nil {
		return err
	}
	return write(a.stdout, p)
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

// write prints the request as it would look on the wire.
func write(to io.Writer, p adapters.Preview) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", p.Method, p.URL)
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", http.CanonicalHeaderKey(name), p.Header[name])
	}
	b.WriteString("\n" + p.Body)
	if !strings.HasSuffix(p.Body, "\n") {
		b.WriteString("\n")
	}
	_, err := io.WriteString(to, b.String())
	return err
}
