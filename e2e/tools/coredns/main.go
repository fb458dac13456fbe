// CoreDNS with just the plugins that the cluster's Corefile names: the others bring the client libraries of every cloud,
// which take longer to compile than all the rest.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which they answer.
	dnsserver.Directives = []string{"health", "ready", "errors", "hosts", "kubernetes", "forward"}
	coremain.Run()
}
