// Package connector makes the files of a Power Platform custom connector of the
// broker's routes: what makers see of Ferry in Power Automate, Logic Apps and Power
// Apps. It is pure: routes and options in, files out, the same for the same input.
package connector
