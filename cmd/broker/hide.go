package main

import (
	"bytes"
	"io"
	"strings"

	"ferry"
	"ferry/privacy"
)

// unmaskedFlag is of the commands that show what a route's mask hides.
type unmaskedFlag struct {
	Unmasked bool `help:"Show the members that the route's mask hides."`
}

// mask is what is hidden of a message; nil: nothing.
func (u unmaskedFlag) mask(e *ferry.Envelope) (*privacy.FieldMask, error) {
	if u.Unmasked {
		return nil, nil
	}
	return privacy.NewFieldMask(e.Mask)
}

// hideEnvelope masks what was kept of a message before its route had the mask.
func hideEnvelope(m *privacy.FieldMask, e *ferry.Envelope) {
	if m == nil {
		return
	}
	e.Result = m.JSON(e.Result)
	if e.DeadLetter != nil {
		e.DeadLetter.Description = m.Text(e.DeadLetter.Description)
	}
	for i := range e.Attempts {
		a := &e.Attempts[i]
		a.Text = m.Text(a.Text)
		for j := range a.Fields {
			a.Fields[j].Text = m.Text(a.Fields[j].Text)
		}
	}
}

// hideBody masks a body, which has to be in memory for that.
func hideBody(m *privacy.FieldMask, body io.Reader) (io.Reader, error) {
	if m == nil {
		return body, nil
	}
	data, err := io.ReadAll(io.LimitReader(body, maxShown+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxShown:
		return nil, ferry.Errorf(ferry.CodeTooLarge, "the body has more than %s, too much to be masked", bytesOf(maxShown)).
			WithHint("--unmasked gives it as it is")
	}
	return bytes.NewReader(m.JSON(data)), nil
}

// remarkMasked says that what was shown is not all.
func (a *app) remarkMasked(m *privacy.FieldMask, e *ferry.Envelope) {
	if m != nil {
		a.remark("masked, as the route says: %s (--unmasked shows it)", oneLine(strings.Join(e.Mask, ", ")))
	}
}

// checkMasked refuses a new body that has the mask in the place of what it hides:
// it was made of a body as it is shown.
func checkMasked(e *ferry.Envelope, mended []byte) error {
	inJSON, inXML := []byte(`"`+privacy.Hidden+`"`), []byte(">"+privacy.Hidden+"<")
	if len(e.Mask) > 0 && (bytes.Contains(mended, inJSON) || bytes.Contains(mended, inXML)) {
		return ferry.Errorf(ferry.CodeBadRequest, "the new body has %s, which stands for a masked value", privacy.Hidden).
			WithHint("broker messages body %s --unmasked gives the body as it is", e.ID.Short())
	}
	return nil
}
