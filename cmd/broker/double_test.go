package main

import (
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

// doubleKey is the variable with a double's address, which tells the scripts apart.
const doubleKey = "DOUBLE_ADMIN"

// doubles are those of the scripts that run.
var doubles sync.Map

func startDouble(ts *testscript.TestScript, _ bool, _ []string) {
	all := []string{"a2V5LW9mLXRoZS1kb3VibGU="}
	s, err := sbemu.Start(sbemu.Options{Policies: map[string]sbemu.Policy{
		"all": {Keys: all, Rights: sbemu.Manage}, "plain": {Keys: all, Rights: sbemu.Listen | sbemu.Send}, "listener": {Keys: all, Rights: sbemu.Listen},
	}})
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	ts.Setenv(doubleKey, "http://"+s.Addr())
	ts.Setenv("DOUBLE_ALL", s.ConnectionStringOf("all"))
	ts.Setenv("DOUBLE_PLAIN", s.ConnectionStringOf("plain"))
	ts.Setenv("DOUBLE_LISTEN", s.ConnectionStringOf("listener"))
	ts.Setenv("DOUBLE_WRONG", strings.Replace(s.ConnectionStringOf("all"), all[0], "d3Jvbmc=", 1))
	doubles.Store(ts.Getenv(doubleKey), s)
}

func makeQueue(ts *testscript.TestScript, _ bool, args []string) {
	q := entity.Config{Name: args[0], MaxDelivery: 100}
	for _, option := range args[1:] {
		lock, isLock := strings.CutPrefix(option, "lock=")
		switch {
		case isLock:
			d, err := time.ParseDuration(lock)
			ts.Check(err)
			q.LockDuration = d
		case option == "session":
			q.RequiresSession = true
		default:
			ts.Fatalf("queue: unknown option %q", option)
		}
	}
	s, ok := doubles.Load(ts.Getenv(doubleKey))
	if !ok {
		ts.Fatalf("there is no double yet")
	}
	_, err := s.(*sbemu.Server).Namespace().Create(q)
	ts.Check(err)
}
