package api

import (
	"strings"

	"ferry"
)

// EnvelopeJSON is an envelope as GET /v1/messages/{id} gives it, for who tells it
// in another way.
func EnvelopeJSON(e ferry.Envelope, publicURL string) []byte {
	if publicURL != "" {
		e.StatusURL = strings.TrimRight(publicURL, "/") + "/v1/messages/" + e.ID.String()
	}
	return encode(e)
}
