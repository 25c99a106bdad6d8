package api

import (
	"net/http"

	"ferry"
)

// confirmers may say what became of a message without its token.
var confirmers = []ferry.Role{ferry.RoleReceiver, ferry.RoleOperator}

// The outcomes of a confirmation.
const (
	OutcomeDelivered = "delivered"
	OutcomeRejected  = "rejected"
)

// ConfirmRequest says what became of a message that the destination took.
type ConfirmRequest struct {
	Outcome   string `json:"outcome" doc:"delivered or rejected"`
	Reference string `json:"reference,omitempty" doc:"delivered: the destination's own number of the document, at most 256 bytes"`
	Code      string `json:"code,omitempty" doc:"rejected: the destination's own error code, at most 256 bytes"`
	Text      string `json:"text,omitempty" doc:"the destination's words, at most 4096 bytes"`
}

// ConfirmAnswer is what the broker made of it.
type ConfirmAnswer struct {
	ID    ferry.ID    `json:"id"`
	State ferry.State `json:"state"`
	Kept  bool        `json:"kept,omitempty" doc:"it takes effect when the worker that may hold the message has reported"`
}

// confirm takes the word of the destination itself, by the token of the address
// that it was given, or of somebody with a key.
func (c *call) confirm() error {
	id, of, by, err := c.confirmedBy()
	if err != nil {
		return err
	}
	var in ConfirmRequest
	if err := c.decode(&in, maxConfirm, false); err != nil {
		return err
	}
	if fault := in.check(); fault != nil {
		return fault
	}
	said := ferry.Confirmation{Delivered: in.Outcome == OutcomeDelivered, Reference: in.Reference, Code: in.Code, Text: in.Text}
	state, kept, err := c.api.svc.Confirm(c.ctx(), id, of, said, by, c.who.May(ferry.RoleOperator))
	return answer(c, http.StatusOK, ConfirmAnswer{ID: id, State: state, Kept: kept}, err)
}

// maxConfirm bounds a confirmation, bytes.
const maxConfirm = 16 << 10

// confirmedBy says who confirms which message. With a token nothing is told of
// the message before the token has proved good.
func (c *call) confirmedBy() (id ferry.ID, of ferry.CallOf, by string, err error) {
	token := c.q("token")
	if token == "" {
		e, err := c.envelope()
		return e.ID, of, c.who.Name, err
	}
	id, err = ferry.ParseID(c.r.PathValue("id"))
	if err == nil {
		of, err = c.api.svc.ConfirmToken(id, token)
	}
	if err != nil {
		return id, of, "", ferry.Errorf(ferry.CodeUnauthenticated, "the token is not one of this message").
			WithHint("call the address as it was given, to its last character")
	}
	return id, of, "the destination", nil
}

func (in *ConfirmRequest) check() *ferry.Error {
	switch {
	case in.Outcome != OutcomeDelivered && in.Outcome != OutcomeRejected:
		return invalid("/outcome", "there is no outcome %q", clip(in.Outcome)).WithHint("delivered or rejected")
	case in.Outcome == OutcomeRejected && in.Reference != "":
		return invalid("/reference", "what was rejected has no reference")
	case in.Outcome == OutcomeDelivered && in.Code != "":
		return invalid("/code", "what was delivered has no error code")
	case !plain(in.Reference):
		return invalid("/reference", "the reference has control characters")
	case len(in.Reference) > ferry.MaxReferenceLength:
		return ferry.Errorf(ferry.CodeReferenceTooLong, "the reference has %d bytes", len(in.Reference)).
			WithHint("at most %d", ferry.MaxReferenceLength)
	case len(in.Code) > ferry.MaxReferenceLength || !plain(in.Code):
		return invalid("/code", "the code has control characters, or more than %d bytes", ferry.MaxReferenceLength)
	case len(in.Text) > ferry.MaxAttemptText:
		return invalid("/text", "the text has %d bytes, at most %d are kept", len(in.Text), ferry.MaxAttemptText)
	}
	return nil
}
