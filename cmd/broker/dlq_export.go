package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ferry"
	"ferry/client"
	"ferry/privacy"
)

// exportAtATime is how many messages are read side by side: so many bodies are in
// memory at the most.
const exportAtATime = 8

type dlqExportCmd struct {
	dlqFilter
	Format      string `enum:"jsonl,csv" default:"jsonl" help:"jsonl: a line of JSON each, all that is known. csv: the main columns, for spreadsheets."`
	Bodies      bool   `help:"With csv: the bodies too. With jsonl they are in it anyway."`
	WithoutBody bool   `help:"With jsonl: envelopes only."`
	File        string `short:"f" placeholder:"FILE" help:"Write there, readable for you alone; else to standard output."`
	unmaskedFlag
}

// exported is one line of an export: the whole envelope and its body, as JSON or
// in base64.
type exported struct {
	ferry.Envelope
	Body       json.RawMessage `json:"body,omitempty"`
	BodyBase64 []byte          `json:"bodyBase64,omitempty"`
	BodyError  string          `json:"bodyError,omitempty"` // why there is no body

	plain []byte // the body, for a table
}

// Run writes dead letters, newest first; without --limit all. One that is no dead
// letter any more when it is read is left out.
func (d dlqExportCmd) Run(a *app) (err error) {
	switch {
	case d.Bodies && d.WithoutBody:
		return usagef("--bodies and --without-body do not go together")
	case d.Format == "csv" && d.WithoutBody:
		return usagef("--without-body is for jsonl").withHint("csv has no bodies unless --bodies")
	}
	filter, err := d.filter(a)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	to, end, err := d.open(a)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(to, 64<<10)
	written, left, err := d.export(a, c, filter, newExportWriter(out, d.Format, d.Bodies))
	if err = end(errors.Join(err, out.Flush())); err != nil {
		return fmt.Errorf("after %s: %w", count(written, "dead letter"), err)
	}
	a.remark("%s exported", count(written, "dead letter"))
	if left > 0 {
		a.remark("%d left out: no longer dead letters when they were read", left)
	}
	return nil
}

// open is where the export goes. A file has its name once all of it is there: half an
// export looks like a whole one, and what stood there before may be all that is left
// of the dead letters of then.
func (d dlqExportCmd) open(a *app) (io.Writer, func(error) error, error) {
	if d.File == "" {
		return a.stdout, func(err error) error { return err }, nil
	}
	name := d.File
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return nil, nil, fmt.Errorf("%s is a folder", name)
	case err == nil && !info.Mode().IsRegular(): // a pipe, a device
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return nil, nil, err
		}
		return f, func(err error) error { return errors.Join(err, f.Close()) }, nil
	case err == nil:
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return nil, nil, err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part") // for its owner alone
	if err != nil {
		return nil, nil, fmt.Errorf("the file for the export: %w", err)
	}
	return f, func(err error) error {
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), name)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
		return err
	}, nil
}

// export reads page by page, several messages at a time, and writes in order.
func (d dlqExportCmd) export(a *app, c *client.Client, filter ferry.DeadLetterFilter, w exportWriter) (written, left int, err error) {
	if err := w.begin(); err != nil {
		return 0, 0, err
	}
	most := filter.Limit
	filter.Limit = ferry.MaxListLimit
	if most > 0 {
		filter.Limit = min(most, ferry.MaxListLimit)
	}
	var some []ferry.ID
	flush := func() error {
		lines, errs := d.read(a, c, some)
		some = some[:0]
		for i := range lines {
			switch {
			case errs[i] != nil:
				return errs[i]
			case lines[i] == nil:
				left++
			default:
				if err := w.write(lines[i]); err != nil {
					return err
				}
				written++
			}
		}
		return nil
	}
	seen := 0
	for e, err := range c.AllDeadLetters(a.ctx, filter) {
		if err != nil {
			return written, left, err
		}
		some = append(some, e.ID)
		if seen++; len(some) == exportAtATime || seen == most {
			if err := flush(); err != nil {
				return written, left, err
			}
		}
		if seen == most {
			break
		}
	}
	return written, left, flush()
}

// read reads the messages whole: a list has no attempts and no bodies.
func (d dlqExportCmd) read(a *app, c *client.Client, ids []ferry.ID) ([]*exported, []error) {
	lines, errs := make([]*exported, len(ids)), make([]error, len(ids))
	var group sync.WaitGroup
	for i, id := range ids {
		group.Go(func() {
			if lines[i], errs[i] = d.one(a, c, id); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", id, errs[i])
			}
		})
	}
	group.Wait()
	return lines, errs
}

// one is a line, nil when the message is no dead letter any more.
func (d dlqExportCmd) one(a *app, c *client.Client, id ferry.ID) (*exported, error) {
	e, err := c.Message(a.ctx, id.String())
	if ferry.CodeOf(err) == ferry.CodeMessageNotFound || err == nil && e.State != ferry.StateDeadLettered {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mask, err := d.mask(&e)
	if err != nil {
		return nil, err
	}
	hideEnvelope(mask, &e)
	line := &exported{Envelope: e}
	if d.Bodies || d.Format == "jsonl" && !d.WithoutBody {
		err = line.addBody(a, c, mask)
	}
	return line, err
}

func (x *exported) addBody(a *app, c *client.Client, mask *privacy.FieldMask) error {
	body, media, err := c.Body(a.ctx, x.ID.String(), 0)
	body = mask.JSON(body)
	switch {
	case ferry.CodeOf(err) == ferry.CodeBodyMissing, err != nil && x.DeadLetter != nil && x.DeadLetter.Reason == ferry.ReasonBodyMissing:
		x.BodyError = err.Error()
	case err != nil:
		return fmt.Errorf("its body: %w", err)
	case isJSON(media) && json.Valid(body):
		x.Body = body
	default:
		x.BodyBase64 = body
	}
	x.plain = body
	return nil
}

// isJSON says whether a content type is JSON, also one such as
// application/vnd.x+json.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}
