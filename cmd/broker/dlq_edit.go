package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"

	"ferry"
	"ferry/client"
	"ferry/privacy"
)

type dlqEditCmd struct {
	ID          string `arg:"" help:"Which."`
	File        string `short:"f" placeholder:"FILE" help:"The new body, instead of the editor; - reads standard input."`
	ContentType string `placeholder:"TYPE" help:"Of the new body; else as before."`
	Note        string `help:"Why, for the audit."`
	Force       bool   `help:"Send it although it breaks the route's schema."`
	Yes         bool   `help:"Do not ask."`
}

// Run fetches the body, has it mended, shows what changed, asks, and sends it
// again as the next revision. The original is kept.
func (d dlqEditCmd) Run(a *app) error {
	if !d.Yes && (!a.asks || d.File == "-") {
		return usagef("nobody can be asked here").withHint("--yes sends the new body without asking")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	e, err := a.find(c, d.ID)
	if err != nil {
		return err
	}
	if e.State != ferry.StateDeadLettered {
		return ferry.Errorf(ferry.CodeNotDeadLettered, "%s is %s, and only dead letters are edited", e.ID, e.State)
	}
	old, media, err := c.Body(a.ctx, e.ID.String(), 0)
	if err != nil && (d.File == "" || e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonBodyMissing) {
		return err
	}
	media = firstOf(d.ContentType, media, e.ContentType)
	if d.File == "" {
		return d.inEditor(a, c, e, old, media)
	}
	mended, err := a.readInput(d.File)
	if err != nil {
		return err
	}
	if err := checkBody(mended, media); err != nil {
		return err
	}
	return d.send(a, c, e, old, mended, media)
}

// inEditor keeps the text when it could not be sent: it may have been work.
func (d dlqEditCmd) inEditor(a *app, c *client.Client, e ferry.Envelope, old []byte, media string) error {
	if !utf8.Valid(old) {
		return fmt.Errorf("the body is binary (%s, %s) and no editor opens it", orDash(media), bytesOf(int64(len(old))))
	}
	draft, err := newDraft(e.ID, readable(old, media), media)
	if err != nil {
		return err
	}
	mended, err := draft.edit(a, media)
	if err == nil {
		err = d.send(a, c, e, old, mended, media)
	}
	if err != nil && !errors.Is(err, errUnchanged) && draft.changed() {
		a.remark("your text is kept in %s", draft.path)
		return err
	}
	return errors.Join(err, draft.remove())
}

var errUnchanged = errors.New("the body is unchanged, nothing was sent")

// send shows the difference, asks, and replays with the new body.
func (d dlqEditCmd) send(a *app, c *client.Client, e ferry.Envelope, old, mended []byte, media string) error {
	if bytes.Equal(mended, old) || bytes.Equal(mended, readable(old, media)) {
		return errUnchanged
	}
	if err := checkMasked(&e, mended); err != nil {
		return err
	}
	if err := a.showDiff(&e, readable(old, media), readable(mended, media)); err != nil {
		return err
	}
	if err := a.acceptEdit(e, d.Yes); err != nil {
		return err
	}
	sent, err := c.Replay(a.ctx, e.ID.String(), client.Replay{Body: mended, ContentType: media, Note: d.Note, Force: d.Force})
	return a.writeActed("sent again", sent, err)
}

func (a *app) acceptEdit(e ferry.Envelope, yes bool) error {
	if yes {
		return nil
	}
	if e.DeadLetter != nil && e.DeadLetter.MayExist() {
		what := meaning(e.DeadLetter.Reason)
		if e.DeadLetter.Open {
			what = "an earlier receiver may have done it"
		}
		a.remark("%s", a.paint().yellow("careful: "+what+"; the new body may become a second one"))
	}
	return a.confirm("send this as revision %d of %s%s?", e.Revision+1, e.ID.Short(), inEnvironment(e.Environment))
}

// readable is a JSON body with a line per value, numbers and order untouched;
// any other body as it is.
func readable(body []byte, media string) []byte {
	var out bytes.Buffer
	if !isJSON(media) || json.Indent(&out, bytes.TrimSpace(body), "", "  ") != nil {
		return body
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// checkBody refuses what the destination could never read.
func checkBody(body []byte, media string) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return errors.New("the new body is empty")
	}
	if !isJSON(media) {
		return nil
	}
	var any json.RawMessage
	err := json.Unmarshal(body, &any)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := body[:min(int(syntax.Offset), len(body))]
		return fmt.Errorf("the new body is not JSON, line %d: %w", 1+bytes.Count(before, []byte("\n")), err)
	}
	if err != nil {
		return fmt.Errorf("the new body is not JSON: %w", err)
	}
	return nil
}

// showDiff prints a unified difference to stderr, without the values that the
// route's mask hides.
func (a *app) showDiff(e *ferry.Envelope, old, mended []byte) error {
	mask, err := privacy.NewFieldMask(e.Mask)
	if err != nil {
		return err
	}
	text := diff.Diff("as it is", old, "as it will be", mended)
	if len(text) == 0 {
		a.remark("(only white space differs)")
		return nil
	}
	p := a.paint()
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		shown := printable(mask.Text(string(line)))
		switch {
		case i == 0: // the command line of diff
			continue
		case i < 3:
			shown = p.bold(shown)
		case bytes.HasPrefix(line, []byte("+")):
			shown = p.green(shown)
		case bytes.HasPrefix(line, []byte("-")):
			shown = p.red(shown)
		}
		a.remark("%s", shown)
	}
	return nil
}
