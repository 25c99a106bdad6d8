package natsqueue

import (
	"context"
	"fmt"
	"log/slog"
)

// logger hands the server's own words on to slog. They name subjects and
// addresses, never contents.
type logger struct {
	log   *slog.Logger
	fatal chan<- string
}

func (l *logger) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l *logger) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.say(slog.LevelWarn, format, v) }
func (l *logger) Debugf(format string, v ...any)  {}
func (l *logger) Tracef(format string, v ...any)  {}

// Fatalf is told to who starts the server; the server goes on without what failed.
func (l *logger) Fatalf(format string, v ...any) {
	l.say(slog.LevelError, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}

func (l *logger) say(level slog.Level, format string, v []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "queue.server", "text", fmt.Sprintf(format, v...))
}
