package sbemu

// SetPolicy adds a policy, or replaces it. What links may do that are open already
// stays as it was.
func (s *Server) SetPolicy(name string, p Policy) {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	s.auth.policies[name] = p
}
