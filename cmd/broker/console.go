package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// console is the process as commands see it.
type console struct {
	env    func(string) string
	stdin  io.Reader
	stdout *output
	stderr io.Writer
	screen screen // what stdout is
	asks   bool   // a person can be asked: stdin and stderr are a terminal
	pipes  bool   // stdin is a pipe or a file
	now    func() time.Time
}

// output is stdout. It remembers the first error, so that a command whose output
// was lost, on a full disk say, does not look done.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(data []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(data)
	if err != nil {
		o.err = fmt.Errorf("write the output: %w", err)
	}
	return n, o.err
}

// screen says whether output goes to a terminal, and how wide that is.
type screen struct {
	terminal bool
	width    int // columns; 0: unknown, nothing is cut
}

// fallbackWidth is used when a terminal does not tell its width.
const fallbackWidth = 80

func terminalOf(w io.Writer) screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = fallbackWidth
	}
	return screen{terminal: true, width: width}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// paint gives the colours of stdout: none in a pipe, with NO_COLOR set to
// anything (no-color.org), or on a terminal that says it is dumb.
func (c console) paint() paint {
	return paint{on: c.screen.terminal && c.env("NO_COLOR") == "" && c.env("TERM") != "dumb"}
}

// printf writes to stdout.
func (c console) printf(format string, args ...any) {
	fmt.Fprintf(c.stdout, format, args...)
}

// remark writes a line beside the output, to stderr: it stays out of pipes.
func (c console) remark(format string, args ...any) {
	fmt.Fprintf(c.stderr, format+"\n", args...)
}

// ask puts a question on stderr and reads one line of at most maxAnswer bytes,
// and nothing beyond it: the next question, or an editor, reads on from there.
func (c console) ask(format string, args ...any) (string, error) {
	fmt.Fprintf(c.stderr, format+" ", args...)
	var line []byte
	for one := make([]byte, 1); len(line) < maxAnswer; {
		n, err := c.stdin.Read(one)
		if n == 1 && one[0] == '\n' {
			return strings.TrimSpace(string(line)), nil
		}
		line = append(line, one[:n]...)
		if err != nil {
			break
		}
	}
	fmt.Fprintln(c.stderr)
	if len(line) == 0 || len(line) == maxAnswer {
		return "", errNotConfirmed
	}
	return strings.TrimSpace(string(line)), nil
}

const maxAnswer = 256

// confirm asks a yes-or-no question; anything but y or yes is no.
func (c console) confirm(format string, args ...any) error {
	answer, err := c.ask(format+" [y/N]", args...)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errNotConfirmed
	}
	return nil
}
