package api

import (
	"context"
	"encoding/json"
	"net/http"

	"ferry"
)

// Operating is what operators are told of by themselves.
type Operating interface {
	// Operating says whom events of operators are told to, and what holds.
	Operating(ctx context.Context) (ferry.Operating, error)
	// OperatorSecret is what signs the events of a target. An unknown one is notFound.
	OperatorSecret(ctx context.Context, target string) (ferry.CallbackSecret, error)
}

// operatorEvents is what operators are told of by themselves.
func operatorEvents() []endpoint {
	return []endpoint{
		{
			method: http.MethodGet, path: "/v1/operators", id: "getOperators", roles: operators, summary: "Whom events of operators are told to, and what they were told of and holds still",
			answers: []reply{{200, "targets and conditions", ferry.Operating{}, nil, nil}},
			handle:  func(c *call) error { is, err := c.api.svc.Operating(c.ctx()); return answer(c, http.StatusOK, is, err) },
		},
		{
			method: http.MethodGet, path: "/v1/operators/{target}/secret", id: "getOperatorSecret", summary: "The secret that a target's events are signed with",
			answers: []reply{{200, "the secret", ferry.CallbackSecret{}, nil, nil}},
			handle: func(c *call) error {
				is, err := c.api.svc.OperatorSecret(c.ctx(), c.r.PathValue("target"))
				return answer(c, http.StatusOK, is, err)
			},
		},
		{
			method: http.MethodPost, path: "/v1/subscriptions/operator", id: "subscribeOperator", act: true, roles: operators, summary: "Be told what operators are told: routes that stop, workers that are lost, many dead letters, a full disk",
			text:    "The callback is an OperatorEvent. Location, secret and repeats are as those of the other subscriptions.",
			body:    &body{of: SubscribeRequest{}},
			answers: []reply{{201, "the subscription; the same one again when it was there already", ferry.NewSubscription{}, nil, []string{"Location"}}},
			handle:  func(c *call) error { return c.subscribe(ferry.EventOperator) },
		},
	}
}

// OperatorEventBody is what a target is sent, in its format.
func OperatorEventBody(e *ferry.OperatorEvent, format string) []byte {
	switch format {
	case ferry.OperatorFormatText:
		return encode(chatText{Text: e.Text + hintBehind(e)})
	case ferry.OperatorFormatCard:
		return encode(cardOf(e))
	default:
		return encode(e)
	}
}

func hintBehind(e *ferry.OperatorEvent) string {
	if e.Hint == "" {
		return ""
	}
	return " (" + e.Hint + ")"
}

// chatText is what every chat with incoming webhooks shows.
type chatText struct {
	Text string `json:"text"`
}

// card is an Adaptive Card in the wrapping that the workflows of Teams take.
type card struct {
	Type        string       `json:"type"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string          `json:"contentType"`
	Content     json.RawMessage `json:"content"`
}

type cardContent struct {
	Schema  string     `json:"$schema"`
	Type    string     `json:"type"`
	Version string     `json:"version"`
	Body    []cardLine `json:"body"`
}

type cardLine struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Wrap   bool   `json:"wrap"`
	Weight string `json:"weight,omitempty"`
}

func cardOf(e *ferry.OperatorEvent) card {
	lines := []cardLine{{Type: "TextBlock", Text: string(e.Type), Wrap: true, Weight: "Bolder"}, {Type: "TextBlock", Text: e.Text, Wrap: true}}
	if e.Hint != "" {
		lines = append(lines, cardLine{Type: "TextBlock", Text: e.Hint, Wrap: true})
	}
	return card{Type: "message", Attachments: []attachment{{
		ContentType: "application/vnd.microsoft.card.adaptive",
		Content:     encode(cardContent{Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4", Body: lines}),
	}}}
}
