package main

import (
	"fmt"
	"time"

	"ferry"
	"ferry/config"
	"ferry/secret"
)

// awaitSecrets resolves every secret once, so that a worker does not start without
// one; they are read again for the calls. A vault that is away is waited for, as
// the broker is: what cannot mend itself is an error at once.
func (a *app) awaitSecrets(cfg *config.Worker) error {
	pause, told := connectFirst, false
	for {
		err := a.checkSecrets(cfg)
		if err == nil || ferry.CodeOf(err) != ferry.CodeSecretUnavailable || a.ctx.Err() != nil {
			return err
		}
		if !told {
			told = true
			a.log.Warn("secret.unavailable", "error", err.Error(), "next", "tried again until it can be read")
		}
		timer := time.NewTimer(pause)
		select {
		case <-a.ctx.Done():
			timer.Stop()
			return a.ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, connectMost)
	}
}

func (a *app) checkSecrets(cfg *config.Worker) error {
	for _, r := range cfg.References() {
		if _, err := a.resolver().Resolve(r.Ref); err != nil {
			message, hint := explain(err)
			return ferry.Errorf(ferry.CodeOf(err), "%s: %s", r.Path, message).WithHint("%s", hint)
		}
	}
	return nil
}

// tellVault tells of each secret of Key Vault whether it can be read, once per
// reference.
func (a *app) tellVault(cfg *config.Worker, tell func(what, proven string, err error)) {
	seen := map[secret.Ref]bool{}
	for _, r := range cfg.References() {
		ref, ok := r.Ref.Vault()
		if !ok || seen[r.Ref] {
			continue
		}
		seen[r.Ref] = true
		what := "secret of " + r.Path
		got, err := a.vault.Look(ref)
		if err == nil && got.Ended(time.Now()) {
			a.line("open", what, fmt.Sprintf("%s expired at %s, and is used as long as it is taken", r.Ref, got.Expires.UTC().Format(time.RFC3339)))
			continue
		}
		proven := r.Ref.String()
		if got.Version != "" {
			proven += ", version " + got.Version
		}
		tell(what, proven, err)
	}
}
