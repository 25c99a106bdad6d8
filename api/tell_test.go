package api_test

import (
	"net/http"
	"testing"

	"ferry/api"
)

// What is told elsewhere is, to the byte, what the surface answers.
func TestEnvelopeJSONIsWhatGetAnswers(t *testing.T) {
	s := newSurface(t)
	sent := s.send(`{"n":1}`)
	want := s.call("sender-key", http.MethodGet, "/v1/messages/"+sent.ID.String(), "").body
	e, err := s.fake.Message(t.Context(), sent.ID)
	if err != nil {
		t.Fatal(err)
	}
	e.Environment = "test" // as the broker says, and else the surface
	if got := api.EnvelopeJSON(e, "http://broker.test/"); string(got) != string(want) {
		t.Errorf("%s, want %s", got, want)
	}
}
