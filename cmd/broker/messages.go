package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
	"ferry/client"
)

type messagesCmd struct {
	List messagesListCmd `cmd:"" help:"Messages, newest first."`
	Show messagesShowCmd `cmd:"" help:"One message: where it stands, and every attempt."`
	Body messagesBodyCmd `cmd:"" help:"A message's body, to the byte."`
}

type messagesListCmd struct {
	Route  string `help:"Only this route."`
	State  string `placeholder:"STATE" help:"Only this state: accepted, queued, retrying, completed, deadLettered or discarded."`
	Sender string `placeholder:"NAME" help:"Only this sender."`
	Flow   string `placeholder:"ID" help:"Only this flow, or flow run, by its id."`
	Q      string `name:"q" placeholder:"TEXT" help:"Id, key, correlation id, ordering key, reference, sender, flow or flow run: whole, or its beginning."`
	Since  string `placeholder:"TIME" help:"Accepted at or after: a time, a day, or how long ago such as 2h."`
	Until  string `placeholder:"TIME" help:"Accepted before."`
	Limit  int    `default:"50" help:"At most so many."`
	Cursor string `help:"Go on where the list before ended: its nextCursor."`
}

// Run lists messages.
func (m messagesListCmd) Run(a *app) error {
	f := ferry.MessageFilter{Route: m.Route, State: ferry.State(m.State), Sender: m.Sender, Flow: m.Flow, Q: m.Q}
	if f.State != "" && !f.State.Valid() {
		return usagef("--state %q is no state", m.State).withHint("one of: %s", joined(ferry.States()))
	}
	var err error
	if f.Since, err = a.past("--since", m.Since); err != nil {
		return err
	}
	if f.Until, err = a.past("--until", m.Until); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	page, err := collect(m.Limit, m.Cursor, func(limit int, cursor string) (ferry.Page, error) {
		f.Limit, f.Cursor = limit, cursor
		return c.Messages(a.ctx, f)
	})
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(list[ferry.Envelope](page))
	}
	p, now := a.paint(), a.now()
	err = writeList(a, page.Items, "no messages"+ifFiltered(m != messagesListCmd{Limit: m.Limit}),
		[]column{left("ID"), left("ROUTE"), left("STATE"), long("KEY"), long("REFERENCE"), right("ATTEMPTS"), right("AGE")},
		func(e ferry.Envelope) []any {
			return []any{
				a.id(e.ID), e.Route,
				cell{string(e.State), func(string) string { return p.state(e.State) }},
				orDash(e.IdempotencyKey), orDash(e.Reference), fmt.Sprint(e.AttemptsTotal), age(now, e.CreatedAt),
			}
		})
	a.remarkMore(page)
	return err
}

func ifFiltered(filtered bool) string {
	if filtered {
		return " that match"
	}
	return " yet"
}

func joined[S ~string](values []S) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return strings.Join(names, ", ")
}

// collect reads pages until it has limit items or there are no more.
func collect(limit int, cursor string, read func(limit int, cursor string) (ferry.Page, error)) (ferry.Page, error) {
	if limit < 1 {
		return ferry.Page{}, usagef("--limit %d is out of range", limit).withHint("1 or more")
	}
	all := ferry.Page{Items: []ferry.Envelope{}, NextCursor: cursor}
	for {
		page, err := read(min(limit-len(all.Items), ferry.MaxListLimit), all.NextCursor)
		if err != nil {
			return ferry.Page{}, err
		}
		all.Items = append(all.Items, page.Items...)
		all.NextCursor = page.NextCursor
		if page.NextCursor == "" || len(all.Items) >= limit {
			return all, nil
		}
	}
}

// remarkMore says that a list goes on.
func (a *app) remarkMore(page ferry.Page) {
	if page.NextCursor != "" {
		a.remark("there are more: raise --limit, or narrow the list with --route, --since or --q")
	}
}

type messagesShowCmd struct {
	ID string `arg:"" help:"The message: its id, or the last 6 or more characters of it."`
	unmaskedFlag
}

// Run shows one message.
func (m messagesShowCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	e, err := a.find(c, m.ID)
	if err != nil {
		return err
	}
	mask, err := m.mask(&e)
	if err != nil {
		return err
	}
	hideEnvelope(mask, &e)
	if a.json() {
		return a.writeJSON(e)
	}
	a.writeStory(e)
	return nil
}

// find reads the message that id, or its end, names.
func (a *app) find(c *client.Client, id string) (ferry.Envelope, error) {
	if !ferry.IsIDSuffix(id) {
		return ferry.Envelope{}, usagef("%q is not a message id", cut(oneLine(id), 64)).
			withHint("an id, or its last 6 or more characters, as `broker dlq list` and `broker messages list` show them")
	}
	return c.Message(a.ctx, strings.ToLower(id))
}

type messagesBodyCmd struct {
	ID       string `arg:"" help:"The message."`
	Revision int    `placeholder:"N" help:"An earlier body, from 1; else the current one."`
	Out      string `placeholder:"FILE" help:"Write it here, readable by you only; the file must not exist."`
	unmaskedFlag
}

// Run writes the body. On a terminal, what could steer it is made harmless; in
// a pipe or a file the body is as it was sent, to the byte, but for what the
// route's mask hides.
func (m messagesBodyCmd) Run(a *app) error {
	if m.Revision < 0 {
		return usagef("--revision %d is out of range", m.Revision).withHint("1 or more")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	e, err := a.find(c, m.ID)
	if err != nil {
		return err
	}
	body, err := c.OpenBody(a.ctx, e.ID.String(), m.Revision)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was read only
	mask, err := m.mask(&e)
	if err != nil {
		return err
	}
	shown, err := hideBody(mask, body)
	if err != nil {
		return err
	}
	switch {
	case m.Out != "":
		err = writeNew(m.Out, shown)
	case !a.screen.terminal:
		_, err = io.Copy(a.stdout, shown)
	default:
		err = a.showBody(shown, body.ContentType)
	}
	if err == nil {
		a.remarkMasked(mask, &e)
	}
	return err
}

// maxShown bounds a body that is shown on a terminal, bytes.
const maxShown = 8 << 20

func (a *app) showBody(body io.Reader, contentType string) error {
	text, err := io.ReadAll(io.LimitReader(body, maxShown+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxShown:
		return ferry.Errorf(ferry.CodeTooLarge, "the body has more than %s, too much for a terminal", bytesOf(maxShown)).
			WithHint("--out FILE writes it to a file")
	case !utf8.Valid(text):
		return fmt.Errorf("the body is binary (%s, %s), and this is a terminal", orDash(contentType), bytesOf(int64(len(text))))
	default:
		a.printf("%s\n", strings.TrimSuffix(printable(string(text)), "\n"))
		return nil
	}
}

// writeNew writes a file that is not there yet; one that it could not finish is
// removed.
func writeNew(file string, data io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists", file).withHint("name another file with --out")
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(file) // half a body is none
	}
	return err
}

// waitingFor is why a pending message is not being delivered yet, as the end of
// a sentence.
func waitingFor(now time.Time, w *ferry.WaitingFor) string {
	if w == nil {
		return ""
	}
	text := ""
	switch w.Reason {
	case "turn":
		text = ", waits for its turn"
	case "dueTime":
		text = ", waits for its due time"
	case ferry.WaitsForBacklog:
		text = ", waits for its turn"
		if w.Ahead != nil {
			text = fmt.Sprintf(", waits for its turn behind %s of its route", count(*w.Ahead, "message"))
			if *w.Ahead == ferry.MaxAhead {
				text = fmt.Sprintf(", waits for its turn behind %d messages of its route, or more", ferry.MaxAhead)
			}
		}
	case "paused":
		text = ", its route is paused"
	case ferry.WaitsForWindow:
		text = ", a window holds its route"
	case "noWorker":
		text = ", no worker or receiver asks for its route"
	case "unavailable":
		text = ", its destination is down"
	case "throttled":
		text = ", its destination asked for a pause"
	case "unauthorized":
		text = ", its destination refuses the credentials"
	case "orderingKey":
		text = ", waits behind another message of its ordering key"
	case "confirmation":
		text = ", the destination has taken it and says later what becomes of it"
	case "delivery":
		text = ", a worker has it"
		if w.Worker != "" {
			text = ", " + oneLine(w.Worker) + " has it"
		}
		if w.Since != nil {
			text += " for " + age(now, *w.Since)
		}
		if w.Until != nil {
			text += ", at the longest"
		}
	default:
		text = ", waits: " + oneLine(w.Reason)
	}
	if w.Behind != nil {
		text += " (" + w.Behind.String() + ")"
	}
	if w.Until != nil {
		text += ", " + age(now, *w.Until)
	}
	if w.Detail != "" {
		text += ": " + oneLine(w.Detail)
	}
	return text
}
