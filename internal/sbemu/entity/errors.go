package entity

import (
	"errors"
	"net/http"

	"github.com/Azure/go-amqp"
)

// The kinds of errors. What a method returns wraps one of them, or is the
// context's.
var (
	ErrNotFound     = errors.New("there is no such entity or message")
	ErrExists       = errors.New("an entity of this name exists")
	ErrLockLost     = errors.New("the lock supplied is invalid: it has expired, or the message was settled")
	ErrSessionLost  = errors.New("the session lock has expired or was released")
	ErrSessionHeld  = errors.New("the session is locked by another receiver")
	ErrNoSession    = errors.New("no session became free in time")
	ErrTooLarge     = errors.New("larger than the queue allows")
	ErrFull         = errors.New("the queue has reached its maximum size")
	ErrNotAllowed   = errors.New("not allowed on this entity")
	ErrInvalid      = errors.New("not a valid argument")
	ErrDisabled     = errors.New("the entity is disabled")
	ErrClosed       = errors.New("the namespace is closed")
	ErrTooManyLinks = errors.New("too many receivers on this entity")
)

// Condition is the AMQP error condition of an error of this package.
func Condition(err error) amqp.ErrCond {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.condition
		}
	}
	return amqp.ErrCondInternalError
}

// StatusCode is the status code of an error of this package in a reply of
// $management, and over HTTP; 200 for nil.
func StatusCode(err error) int {
	if err == nil {
		return http.StatusOK
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.status
		}
	}
	return http.StatusInternalServerError
}

var kinds = []struct {
	err       error
	condition amqp.ErrCond
	status    int
}{
	{ErrNotFound, amqp.ErrCondNotFound, http.StatusNotFound},
	{ErrExists, "com.microsoft:entity-already-exists", http.StatusConflict},
	{ErrLockLost, "com.microsoft:message-lock-lost", http.StatusGone},
	{ErrSessionLost, "com.microsoft:session-lock-lost", http.StatusGone},
	{ErrSessionHeld, "com.microsoft:session-cannot-be-locked", http.StatusGone},
	{ErrNoSession, "com.microsoft:timeout", http.StatusRequestTimeout},
	{ErrTooLarge, amqp.ErrCondMessageSizeExceeded, http.StatusForbidden},
	{ErrFull, amqp.ErrCondResourceLimitExceeded, http.StatusForbidden},
	{ErrNotAllowed, amqp.ErrCondNotAllowed, http.StatusBadRequest},
	{ErrInvalid, "com.microsoft:argument-error", http.StatusBadRequest},
	{ErrDisabled, "com.microsoft:entity-disabled", http.StatusForbidden},
	{ErrClosed, amqp.ErrCondConnectionForced, http.StatusServiceUnavailable},
	{ErrTooManyLinks, amqp.ErrCondResourceLimitExceeded, http.StatusForbidden},
}
