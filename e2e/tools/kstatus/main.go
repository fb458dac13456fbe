// What kstatus, by which Flux and others judge objects, makes of each object of a JSON list on stdin: a line with kind,
// name and status.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	var list unstructured.UnstructuredList
	if err := json.NewDecoder(os.Stdin).Decode(&list); err != nil {
		log.Fatal(err)
	}
	for i := range list.Items {
		object := &list.Items[i]
		result, err := status.Compute(object)
		if err != nil {
			log.Fatalf("%s: %v", object.GetName(), err)
		}
		fmt.Println(object.GetKind(), object.GetName(), result.Status)
	}
}
