{{- /* What `name` is, and of a builder in which `pool`: by nothing else are our pods selected. No other pod carries it: the
deployer takes no label of this prefix from a user, and writes none of these keys itself. */}}
{{- define "sequencer.part" -}}
se.quencer.io/part: {{ .name }}
{{- with .pool }}
se.quencer.io/pool: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "sequencer.labels" -}}
{{ include "sequencer.part" . }}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: sequencer
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "sequencer.selector" -}}
{{ include "sequencer.part" . | fromYaml | toJson }}
{{- end }}

{{- define "sequencer.buildsNamespace" -}} sequencer-builds {{- end }}
{{- define "sequencer.tunnelsNamespace" -}} sequencer-tunnels {{- end }}

{{- /* The four services that live in the release namespace; the builders live in their own. */}}
{{- define "sequencer.services" -}} ["watcher", "registry-pusher", "network", "deployer"] {{- end }}

{{- /* The builder pools as JSON: those of the values, or `default`. */}}
{{- define "sequencer.pools" -}}
{{- .Values.builder.pools | default (list (dict "name" "default" "replicas" .Values.builder.replicas)) | toJson }}
{{- end }}

{{- /* The pools as the watcher is told of them: `default,large=team-*|ops`. */}}
{{- define "sequencer.openPools" -}}
{{- $pools := list }}
{{- range include "sequencer.pools" . | fromJsonArray }}
{{- $pools = append $pools (ternary (printf "%s=%s" .name (join "|" .namespaces)) .name (not (empty .namespaces))) }}
{{- end }}
{{- join "," $pools }}
{{- end }}

{{- define "sequencer.image" -}}
{{ .root.Values.image.repository }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- /* A duration in whole seconds. */}}
{{- define "sequencer.seconds" -}}
{{- $then := toDate "2006-01-02" "2000-01-01" }}
{{- sub ($then | dateModify (nospace .) | unixEpoch) ($then | unixEpoch) }}
{{- end }}

{{- /* Whether there is a cluster to look things up in: there is none for `helm template`. */}}
{{- define "sequencer.connected" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}true{{ end }}
{{- end }}

{{- define "sequencer.clusterId" -}}
{{- if .Values.clusterId }}{{ .Values.clusterId }}
{{- else if include "sequencer.connected" . }}{{ (lookup "v1" "Namespace" "" "kube-system").metadata.uid | sha256sum | trunc 10 }}
{{- else }}{{ fail "clusterId: without a cluster to derive it from it has to be set" }}
{{- end }}
{{- end }}

{{- define "sequencer.natsUrl" -}}
{{- if .Values.nats.enabled }}tls://nats.{{ .Release.Namespace }}.svc:4222{{ else }}{{ .Values.nats.url }}{{ end }}
{{- end }}

{{- define "sequencer.natsSecret" -}}
{{ .root.Values.nats.tls.existingSecret | default "nats" }}-{{ .user }}
{{- end }}

{{- define "sequencer.stagingHost" -}} staging.{{ .Release.Namespace }}.svc:5000 {{- end }}
{{- define "sequencer.dockerCacheHost" -}} docker-cache.{{ .Release.Namespace }}.svc:5000 {{- end }}

{{- define "sequencer.stagingUrl" -}}
{{- if .Values.staging.enabled }}http://{{ include "sequencer.stagingHost" . }}{{ else }}{{ .Values.staging.url }}{{ end }}
{{- end }}

{{- /* The Secret with the login of the staging registry; empty if that needs none. */}}
{{- define "sequencer.stagingSecret" -}}
{{- if .Values.staging.enabled }}staging-login{{ else }}{{ .Values.staging.existingSecret }}{{ end }}
{{- end }}

{{- /* A claim for one pod's data, or its folder on the node. */}}
{{- define "sequencer.dataVolume" -}}
{{- if .size }}persistentVolumeClaim: {claimName: {{ .name }}}{{ else }}emptyDir: {}{{ end }}
{{- end }}

{{- define "sequencer.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "sequencer.labels" . | nindent 4 }}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: {{ .size }}}}
{{- end }}

{{- define "sequencer.clusterService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "sequencer.labels" . | nindent 4 }}
spec:
  selector: {{ include "sequencer.selector" . }}
  ports:
  - {name: {{ .port.name }}, port: {{ .port.number }}, targetPort: {{ .port.name }}}
{{- end }}

{{- /* What Pod Security calls restricted, with a read-only root. */}}
{{- define "sequencer.podSecurity" -}}
{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
{{- end }}

{{- define "sequencer.containerSecurity" -}}
{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
{{- end }}
