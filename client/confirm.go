package client

import (
	"context"

	"ferry"
)

// Confirmation says what became of a message that the destination took.
type Confirmation struct {
	Outcome   string `json:"outcome"` // delivered or rejected
	Reference string `json:"reference,omitempty"`
	Code      string `json:"code,omitempty"`
	Text      string `json:"text,omitempty"`
}

// Confirmed is what the broker made of a confirmation.
type Confirmed struct {
	ID    ferry.ID    `json:"id"`
	State ferry.State `json:"state"`
	Kept  bool        `json:"kept,omitempty"` // it takes effect when the worker that may hold the message has reported
}

// Confirm tells what became of a message, for a destination that answers later.
// It needs a receiver's or an operator's key.
func (c *Client) Confirm(ctx context.Context, id string, said Confirmation) (Confirmed, error) {
	var answer Confirmed
	err := c.post(ctx, "/v1/messages/"+seg(id)+"/confirm", said, &answer)
	return answer, err
}
