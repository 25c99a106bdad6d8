package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ferry"
)

// draft is a body in a file of its own, readable by its owner only, while a
// person edits it.
type draft struct {
	folder string
	path   string
	before []byte
}

func newDraft(id ferry.ID, text []byte, media string) (*draft, error) {
	folder, err := os.MkdirTemp("", "ferry-edit-")
	if err != nil {
		return nil, fmt.Errorf("a place for the draft: %w", err)
	}
	d := &draft{folder: folder, path: filepath.Join(folder, id.Short()+extension(media)), before: text}
	if err := os.WriteFile(d.path, text, 0o600); err != nil {
		return nil, fmt.Errorf("the draft: %w", err)
	}
	return d, nil
}

// extension lets editors tell the kind of text.
func extension(media string) string {
	switch {
	case isJSON(media):
		return ".json"
	case strings.Contains(media, "xml"):
		return ".xml"
	default:
		return ".txt"
	}
}

// edit opens $EDITOR until the text can be sent or the person gives up.
func (d *draft) edit(a *app, media string) ([]byte, error) {
	editor := strings.Fields(a.env("EDITOR"))
	if len(editor) == 0 {
		return nil, usagef("EDITOR names no editor").withHint("set it, or give the new body with -f FILE")
	}
	for {
		// Ctrl-C is the editor's while it runs: it must not be killed by ours.
		command := exec.CommandContext(context.WithoutCancel(a.ctx), editor[0], append(editor[1:], d.path)...)
		command.Stdin, command.Stdout, command.Stderr = a.stdin, a.stdout.to, a.stderr
		if err := command.Run(); err != nil {
			return nil, fmt.Errorf("the editor %s: %w", editor[0], err)
		}
		text, err := os.ReadFile(d.path)
		if err != nil {
			return nil, fmt.Errorf("the draft: %w", err)
		}
		fault := checkBody(text, media)
		if fault == nil || !a.asks {
			return text, fault
		}
		a.remark("%s", printable(fault.Error()))
		if err := a.confirm("edit it again?"); err != nil {
			return nil, err
		}
	}
}

// changed says whether the draft holds anything that the broker does not.
func (d *draft) changed() bool {
	text, err := os.ReadFile(d.path)
	return err == nil && !bytes.Equal(text, d.before)
}

func (d *draft) remove() error { return os.RemoveAll(d.folder) }
