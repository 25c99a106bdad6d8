package main

import "fmt"

func (b *bench) million() error { fmt.Println("x"); return nil }
