package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"ferry"
	"ferry/client"
	"ferry/privacy"
)

type dlqExportCmd struct {
	dlqFilter
	WithoutBody bool `help:"Envelopes only."`
	unmaskedFlag
}

// exported is one line of an export: the whole envelope and its body, as JSON or
// in base64.
type exported struct {
	ferry.Envelope
	Body       json.RawMessage `json:"body,omitempty"`
	BodyBase64 []byte          `json:"bodyBase64,omitempty"`
	BodyError  string          `json:"bodyError,omitempty"` // why there is no body
}

// Run writes dead letters as JSON lines, newest first; without --limit all.
func (d dlqExportCmd) Run(a *app) (err error) {
	filter, err := d.filter(a)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	most := filter.Limit
	filter.Limit = ferry.MaxListLimit
	if most > 0 {
		filter.Limit = min(most, ferry.MaxListLimit)
	}
	out := bufio.NewWriter(a.stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	written := 0
	for e, err := range c.AllDeadLetters(a.ctx, filter) {
		if err != nil {
			return fmt.Errorf("after %s: %w", count(written, "line"), err)
		}
		e, err := c.Message(a.ctx, e.ID.String()) // a list has no attempts
		if err != nil {
			return fmt.Errorf("after %s: %w", count(written, "line"), err)
		}
		mask, err := d.mask(&e)
		if err != nil {
			return fmt.Errorf("%s: %w", e.ID, err)
		}
		hideEnvelope(mask, &e)
		line := exported{Envelope: e}
		if !d.WithoutBody {
			if err := line.addBody(a, c, mask); err != nil {
				return fmt.Errorf("the body of %s: %w", e.ID, err)
			}
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
		if written++; written == most {
			break
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	a.remark("%s exported", count(written, "dead letter"))
	return nil
}

func (x *exported) addBody(a *app, c *client.Client, mask *privacy.FieldMask) error {
	body, media, err := c.Body(a.ctx, x.ID.String(), 0)
	body = mask.JSON(body)
	switch {
	case ferry.CodeOf(err) == ferry.CodeBodyMissing, err != nil && x.DeadLetter != nil && x.DeadLetter.Reason == ferry.ReasonBodyMissing:
		x.BodyError = err.Error()
	case err != nil:
		return err
	case isJSON(media) && json.Valid(body):
		x.Body = body
	default:
		x.BodyBase64 = body
	}
	return nil
}

// isJSON says whether a content type is JSON, also one such as
// application/vnd.x+json.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}
