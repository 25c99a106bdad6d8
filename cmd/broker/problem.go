package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/alecthomas/kong"

	"ferry"
)

// usageError is wrong usage: exit 2.
type usageError struct {
	message string
	hint    string
}

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) *usageError {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

func (e *usageError) withHint(format string, args ...any) *usageError {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

// asUsage makes the parser's complaint wrong usage.
func asUsage(err error) error {
	var already *usageError
	if errors.As(err, &already) {
		return already
	}
	command := "broker"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		for _, step := range parse.Context.Path {
			if step.Command != nil {
				command += " " + step.Command.Name
			}
		}
	}
	return usagef("%s", err).withHint("%s --help shows what it takes", command)
}

// quietExit ends a command that said what was to be said with a code of its own.
type quietExit int

func (e quietExit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// errNotConfirmed is a question that was not answered with yes.
var errNotConfirmed = errors.New("not confirmed, nothing was done")

// report prints err to stderr, with a hint where one helps, and gives the exit
// code. It is the only place that does.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	var quiet quietExit
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	message, hint := a.explain(err)
	fmt.Fprintf(a.stderr, "broker: error: %s\n", printable(message))
	if hint != "" {
		fmt.Fprintf(a.stderr, "broker: hint: %s\n", printable(hint))
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// explain gives an error's sentence, and what to do about it.
func (a *app) explain(err error) (message, hint string) {
	var usage *usageError
	if errors.As(err, &usage) {
		return usage.message, usage.hint
	}
	var known *ferry.Error
	if errors.As(err, &known) {
		message, hint = err.Error(), known.Hint
		for _, d := range known.Details {
			if !strings.Contains(message, d.Detail) {
				message += "\n  " + strings.TrimSpace(d.Pointer+" "+d.Detail)
			}
		}
		switch {
		case known.Code == ferry.CodeUnauthenticated:
			hint = a.keyHint(hint)
		case known.Code == ferry.CodeForbidden && hint == "":
			hint = "`broker me` shows whose key this is and what it may do; --key-file or FERRY_KEY_FILE takes another"
		case known.RequestID != "" && hint == "" && known.Code == ferry.CodeInternal:
			hint = "the broker's log tells more: look for " + known.RequestID
		}
		return message, hint
	}
	return explainTransport(err)
}

// explainTransport turns the words of the network into ours.
func explainTransport(err error) (message, hint string) {
	var unknownAuthority x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	var dns *net.DNSError
	var timeout net.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted", ""
	case errors.As(err, &dns):
		return err.Error(), "check the address given with --server, FERRY_URL or --context"
	case errors.As(err, &unknownAuthority), errors.As(err, &wrongHost):
		return err.Error(), "the broker's certificate is not trusted here: check the address, or name a file with its authority: --ca, FERRY_CA or ca in a context"
	case errors.As(err, &timeout) && timeout.Timeout():
		return err.Error(), "the broker does not answer in time: `broker status` tells more once it does"
	case errors.As(err, &dial) && dial.Op == "dial":
		return err.Error(), "start the broker with `broker serve`, or name another with --server, FERRY_URL or --context"
	}
	return err.Error(), ""
}

// keyHint says what to do about a key that was refused.
func (a *app) keyHint(other string) string {
	at, err := a.findServer()
	if err != nil {
		return other
	}
	if at.key.text == "" {
		return "give a key with --key-file, FERRY_KEY, FERRY_KEY_FILE or a context; the first start of `broker serve` writes <dataDir>/admin.key"
	}
	return "the key came from " + at.key.from + ": it may be revoked, expired, or another broker's; an admin makes a new one with `broker keys create`"
}
