package intake

import (
	"errors"
	"strings"

	"ferry"
)

// The properties that a message gets when it is dead-lettered in its queue.
const (
	propRefusedBy    = "FerryEnvironment"
	propRefusedRoute = "FerryRoute"
)

// maxDescription bounds the description of a dead letter in its queue, bytes: the
// service keeps 4,096 characters.
const maxDescription = 2048

// ofMessage says whether an error is the message's own fault, so that it can never
// be taken in. All others are faults of the ledger or of the set-up: they pass.
func ofMessage(err error) bool {
	switch ferry.CodeOf(err) {
	case ferry.CodeBadRequest, ferry.CodeBadKey, ferry.CodeBadOrderingKey, ferry.CodeBadCorrelationID, ferry.CodeBadDuration,
		ferry.CodeBadTime, ferry.CodeBadCallbackURL, ferry.CodeEmptyBody, ferry.CodeKeyReused, ferry.CodeConflict, ferry.CodeTooLarge,
		ferry.CodeTooManyProperties, ferry.CodeUnsupportedMedia, ferry.CodeInvalid, ferry.CodeVersionNotFound:
		return true
	}
	return false
}

// reasonOf is an error as the reason and description of a dead letter: the code,
// and the sentence with its hint.
func reasonOf(err error) (reason, description string) {
	known, ok := errors.AsType[*ferry.Error](err)
	if !ok {
		return string(ferry.CodeInternal), "it cannot be taken in"
	}
	parts := []string{known.Message}
	if known.Code == ferry.CodeKeyReused && known.Existing != nil {
		parts = []string{
			"this MessageId was used before with another body, by message " + known.Existing.ID.String() + " (" + string(known.Existing.State) + ")",
			"send a corrected message with another MessageId, or edit the first one: broker dlq edit",
		}
	} else if len(known.Details) > 0 {
		for _, d := range known.Details {
			parts = append(parts, strings.TrimSpace(d.Pointer+" "+d.Detail))
		}
	} else if known.Hint != "" {
		parts = append(parts, known.Hint)
	}
	description = strings.Join(parts, "; ")
	if len(description) > maxDescription {
		description = strings.ToValidUTF8(description[:maxDescription], "") + "…"
	}
	return string(known.Code), description
}
