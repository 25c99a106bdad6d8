package api

import (
	"strings"

	"ferry"
	"ferry/shape"
)

// EnvelopeJSON is an envelope as GET /v1/messages/{id} gives it, for who tells it
// in another way.
func EnvelopeJSON(e ferry.Envelope, publicURL string) []byte {
	if publicURL != "" {
		e.StatusURL = strings.TrimRight(publicURL, "/") + "/v1/messages/" + e.ID.String()
	}
	return encode(e)
}

// EnvelopeEvent is EnvelopeJSON as the data of a CloudEvent 1.0 in JSON.
func EnvelopeEvent(e ferry.Envelope, publicURL string) []byte {
	data := EnvelopeJSON(e, publicURL)
	event, err := shape.CloudEvent(&e, publicURL, data)
	if err != nil { // the data is no JSON, and it was written as such
		return data
	}
	return event
}
