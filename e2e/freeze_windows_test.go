package e2e

import "testing"

func (p *process) freeze(t *testing.T) { t.Skip("a process cannot be made to stand still on Windows") }

func (p *process) thaw(*testing.T) {}
