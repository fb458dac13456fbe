{{- /* What the five services have in common. Each takes a dict: root, name, and for a builder its pool. */}}

{{- define "service.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "sequencer.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- /* The settings that every service has. */}}
{{- define "service.env" -}}
{{- $values := .root.Values -}}
- {name: SEQUENCER_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: SEQUENCER_NATS_URL, value: {{ include "sequencer.natsUrl" .root | quote }}}
- {name: SEQUENCER_NATS_CA, value: /etc/sequencer/nats/ca.crt}
- {name: SEQUENCER_NATS_CERT, value: /etc/sequencer/nats/tls.crt}
- {name: SEQUENCER_NATS_KEY, value: /etc/sequencer/nats/tls.key}
- {name: SEQUENCER_LOG_LEVEL, value: {{ $values.telemetry.logLevel | quote }}}
{{- with $values.telemetry.otlpEndpoint }}
- {name: SEQUENCER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $period, $duration := omit $values.periods "drain" "resync" "probe" "quarantine" }}
- {name: SEQUENCER_{{ $period | snakecase | upper }}, value: {{ $duration | quote }}}
{{- end }}
- {name: SEQUENCER_DRAIN, value: {{ .drain | default $values.periods.drain | quote }}}
{{- end }}

{{- /* The settings of those that go outside the cluster. */}}
{{- define "service.outsideEnv" -}}
{{- with .root.Values.egress.allowedCIDRs }}
- {name: SEQUENCER_EGRESS_ALLOWED, value: {{ join "," . | quote }}}
{{- end }}
{{- if .root.Values.caBundle.configMapName }}
- {name: SEQUENCER_CA_BUNDLE, value: /etc/sequencer/ca/ca.crt}
{{- end }}
{{- end }}

{{- define "service.stagingEnv" -}}
- {name: SEQUENCER_STAGING_URL, value: {{ include "sequencer.stagingUrl" .root | quote }}}
{{- if include "sequencer.stagingSecret" .root }}
- {name: SEQUENCER_STAGING_LOGIN, value: /etc/sequencer/staging/login}
{{- end }}
{{- end }}

{{- define "service.mounts" -}}
- {name: kubernetes, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
- {name: nats, mountPath: /etc/sequencer/nats, readOnly: true}
{{- if .outside }}{{ include "service.caMount" . }}{{ end }}
{{- if and .staging (include "sequencer.stagingSecret" .root) }}
- {name: staging, mountPath: /etc/sequencer/staging, readOnly: true}
{{- end }}
{{- if .providers }}
- {name: dns-providers, mountPath: /etc/sequencer/dns, readOnly: true}
{{- end }}
{{- end }}

{{- define "service.volumes" -}}
- name: kubernetes
  projected:
    sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
- {name: nats, secret: {secretName: {{ include "sequencer.natsSecret" (dict "root" .root "user" (.user | default .name)) }}}}
{{- if .outside }}{{ include "service.caVolume" . }}{{ end }}
{{- with and .staging (include "sequencer.stagingSecret" .root) }}
- {name: staging, secret: {secretName: {{ . }}, items: [{key: login, path: login}]}}
{{- end }}
{{- if .providers }}
- {name: dns-providers, configMap: {name: dns-providers}}
{{- end }}
{{- end }}

{{- define "service.caMount" -}}
{{- if .root.Values.caBundle.configMapName }}
- {name: ca, mountPath: /etc/sequencer/ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "service.caVolume" -}}
{{- with .root.Values.caBundle.configMapName }}
- {name: ca, configMap: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- end }}

{{- define "service.probes" -}}
ports:
- {name: admin, containerPort: 8080}
livenessProbe: {httpGet: {path: /livez, port: admin}, periodSeconds: 10, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: admin}, periodSeconds: 5}
{{- end }}

{{- /* The Deployment and ServiceAccount of a service in the release namespace. `env` is what it has besides the rest; it has
one pod where nothing says `replicas`. */}}
{{- define "service.deployment" -}}
{{- $namespace := .root.Release.Namespace -}}
{{ include "service.account" (merge (dict "namespace" $namespace) .) }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $namespace }}
  labels:
    {{- include "sequencer.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas | default 1 }}
  {{- if .recreate }}
  strategy: {type: Recreate}
  {{- end }}
  selector: {matchLabels: {{ include "sequencer.selector" . }}}
  template:
    metadata:
      labels:
        {{- include "sequencer.labels" . | nindent 8 }}
      {{- if .providers }}
      annotations:
        checksum/dns-providers: {{ .root.Values.dns.providers | toJson | sha256sum }}
      {{- end }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add (include "sequencer.seconds" .root.Values.periods.drain) 10 }}
      securityContext: {{ include "sequencer.podSecurity" . }}
      containers:
      - name: {{ .name }}
        image: {{ include "sequencer.image" . }}
        env:
        {{- include "service.env" . | nindent 8 }}
        {{- if .outside }}{{ include "service.outsideEnv" . | nindent 8 }}{{ end }}
        {{- if .staging }}{{ include "service.stagingEnv" . | nindent 8 }}{{ end }}
        {{- if .providers }}
        - {name: SEQUENCER_DNS_PROVIDERS, value: /etc/sequencer/dns/providers.yaml}
        {{- end }}
        {{- with .env }}{{ . | nindent 8 }}{{ end }}
        {{- include "service.probes" . | nindent 8 }}
        resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 256Mi}}
        securityContext: {{ include "sequencer.containerSecurity" . }}
        volumeMounts:
        {{- include "service.mounts" . | nindent 8 }}
      volumes:
      {{- include "service.volumes" . | nindent 6 }}
{{- end }}
